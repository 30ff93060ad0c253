r"""What a value is of: `4319 dollars`, `60^{\circ}`, `28\%`, `15\text{cm}^2`, `204_5`.

A unit says what is counted and may be left out; another one is another answer. Words that change what the number is
worth (`million`, `and a half`) are no unit, and a second quantity is none either: such a text has no quantity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cppo_verl.rewards.plain import whole_group


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_KNOWN = {
    spelling: name
    for name, spellings in {
        "%": "percent percentage pct",
        "deg": "degree deg",
        "rad": "radian rad",
        "$": "dollar buck usd",
        "cent": "cent",
        "euro": "euro",
        "pound": "pound lb",
        "s": "second sec s",
        "min": "minute min",
        "h": "hour hr h",
        "day": "day",
        "week": "week",
        "month": "month",
        "year": "year yr",
        "mm": "mm millimeter millimetre",
        "cm": "cm centimeter centimetre",
        "m": "m meter metre",
        "km": "km kilometer kilometre",
        "in": "in inch inche",
        "ft": "ft foot feet",
        "yd": "yd yard",
        "mi": "mi mile",
        "g": "g gram",
        "kg": "kg kilogram",
        "oz": "oz ounce",
        "l": "liter litre",
        "gal": "gallon gal",
        "mi/h": "mph",
        "km/h": "kph kmh kmph",
        "acre": "acre",
    }.items()
    for spelling in spellings.split()
}
_VALUE_WORDS = _words(
    "half halves third quarter fourth fifth sixth seventh eighth ninth tenth hundredth thousandth twice thrice double "
    "triple quadruple dozen doz gross score ten hundred thousand thou million mil mln mn billion bn trillion "
    "quadrillion myriad lakh crore two three four five six seven eight nine and or not minus plus negative to "
    "squared cubed factorial root than least most at over under below above no non un k"
)
_VALUE_PLURALS = _VALUE_WORDS - {"quarter", "root"}  # quarters are coins, and roots solutions
_NOUNS = _words(
    "unit square cubic sq cu way people person student child children men women man woman boy girl apple egg ticket "
    "coin bill penny pennies nickel dime ball marble card book page side edge face point line angle digit number "
    "integer solution value root real positive distinct pair set subset function outcome zero vertex vertices factor "
    "divisor multiple term step game team player car bus triangle circle rectangle rod "
    "box boxes piece slice cup bottle bag gallon tile block cube inhabitant member vote seat sheet sticker stamp "
    "cookie candy orange banana house home room tree flower dog cat cow chicken bird fish mile kilometer per time"
)
_BARE = frozenset(_KNOWN) - {"m", "g", "h", "in", "rad", "s"}
"""Units that need no `\\text{}` around them; a lone letter is a variable."""

_NUMBER_END = r"(?<=[0-9}\])\s!|])"
_POWER = r"(?:\^ ?\{? ?(-?[0-9]) ?\}?)?"
_TEXT_TAIL = re.compile(rf"^(.*?){_NUMBER_END} ?((?:\\text\{{[^{{}}]*\}} ?)+){_POWER}$", re.DOTALL)
_LETTER_TAIL = re.compile(rf"^(.*?[a-zA-Z])((?:\\text\{{[^{{}}]*\}} ?)+){_POWER}$", re.DOTALL)
_BARE_TAIL = re.compile(
    rf"^(.*?){_NUMBER_END} ?((?<![a-zA-Z\\])[a-zA-Z]{{2,}}(?:[ /]+[a-zA-Z]+)*\.?){_POWER}$", re.DOTALL
)
_RAISED = re.compile(r" ?\^ ?\{? ?(-?[0-9]) ?\}? ?$")
_HEAD = re.compile(
    r"^\\text\{(?:about|approximately|approx\.?|exactly|is"
    r"|(?:[Tt]he )?(?:final )?(?:[Aa]nswer|value|result|sum|total) is|[a-zA-Z ]{1,40}:)\} ?|^\\approx ?"
)
_WORDS_ALONE = re.compile(r"\\text\{[^{}]*\}")
_MONEY = re.compile(r"^(-?) ?(?:(?:US)?\\\$|[€£¥₹]|USD) ?|(?<=[0-9]) ?(?:\\\$|[€£¥₹])$")
_PERCENT = re.compile(r" ?(?:\\%|\^\\%)$")
_DEGREES = re.compile(r" ?\^\{\\circ\}(?: ?\\text\{ ?[CF] ?\}| ?[CF])?$")
_BASE = re.compile(
    r"[({]?(-?[0-9A-Z]+)[)}]?"
    r"(?:_(?:\{ ?(?:\\text\{ ?base ?\} ?|\\text)? ?[{(]? ?(?:base )?([a-z]+|[0-9]+) ?[})]? ?\}"
    r"|\\text\{ ?([a-z]+|[0-9]+) ?\}"
    r"|([0-9]))| ?\\text\{ ?(?:in )?base ([a-z]+)\}| ?(?:\\text\{ ?(?:in )?base\}|(?:in )?base) ?([0-9]+))$"
)
_BASES = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_COUNTS = {word: number for number, word in enumerate(_BASES, start=2)} | {"sixteen": 16}


@dataclass(frozen=True)
class Quantity:
    """A value and what it is of."""

    value: str
    unit: str = ""
    """A known unit's name with its power (`cm2`), other words as they are, or nothing."""
    base: int | None = None
    """Of a numeral that says which it is written in."""


def read_quantity(text: str) -> Quantity | None:
    """The quantity of a text in one spelling (`plain`); None where its words are more than a unit."""
    text, unit = _HEAD.sub("", text.strip()), ""
    if found := _BASE.fullmatch(text):
        base = next(filter(None, found.groups()[1:]))
        number = _COUNTS.get(base) if base.isalpha() else int(base)
        return Quantity(found[1], base=number) if number else None
    if (stripped := _MONEY.sub(r"\1", text)) != text:
        text, unit = stripped.strip(), "$"
    if found := _TEXT_TAIL.match(text) or _letter_tail(text) or _bare_tail(text):
        words = _words_of(found[2])
        if (named := unit_name(words, found[3])) is None:
            return None
        text, unit = found[1].strip(), "cent" if named == "cent" else unit or named
    if (stripped := _PERCENT.sub("", text)) != text:
        text, unit = stripped, unit or "%"
    elif (stripped := _DEGREES.sub("", text)) != text:
        text, unit = stripped, unit or "deg"
    return None if r"\text" in text and not _WORDS_ALONE.fullmatch(text) else Quantity(whole_group(text.strip()), unit)


def unit_name(words: str, power: str | None = None) -> str | None:
    """One name for the spellings of a unit; None if the words change what a number is worth."""
    if raised := _RAISED.search(words):
        words, power = words[: raised.start()], raised[1]
    listed = [word for word in re.split(r"[\s./]+", words.lower().replace("per cent", "percent")) if word]
    if any(word in _VALUE_WORDS or word.rstrip("s") in _VALUE_PLURALS or word.isdigit() for word in listed):
        return None
    if "/" in words or "per" in listed:
        parts = [part.split() for part in re.split(r"/|\bper\b(?! *cent)", words.lower().replace(".", ""))]
        return "/".join((_known(part) or " ".join(part).rstrip("s")) + _power(part) for part in parts) + (power or "")
    known = _known(listed)
    return known + (power or _power(listed)) if known not in ("", "%") else known


def _power(words: list[str]) -> str:
    return "2" if words[:1] in (["square"], ["sq"]) else "3" if words[:1] in (["cubic"], ["cu"]) else ""


def _known(words: list[str]) -> str:
    """The name of the first known unit among words; nothing if there is none."""
    names = (_KNOWN.get(word) or _KNOWN.get(word.rstrip("s")) for word in words)
    return next((name for name in names if name), "")


def same_unit(gold: str, answer: str) -> bool:
    """Whether an answer's unit is none, or the gold's, or the gold says none; of rates also part by part."""
    parts = list(zip(gold.split("/"), answer.split("/"), strict=False))
    same = all(not ours or not theirs or ours == theirs for ours, theirs in parts)
    return not gold or not answer or (same and gold.count("/") == answer.count("/"))


def _words_of(tail: str) -> str:
    return " ".join(re.sub(r"\\text\{([^{}]*)\}", r"\1 ", tail).split())


def _letter_tail(text: str) -> re.Match[str] | None:
    r"""Words right after a letter, if all are units or things counted: `5\pi\text{cm}`, not `x\text{-axis}`."""
    found = _LETTER_TAIL.match(text)
    words = re.split(r"[\s/]+", _RAISED.sub("", _words_of(found[2]).lower())) if found else []
    return found if words and all(_is_counted(word.rstrip("."), frozenset(_KNOWN)) for word in words) else None


def _bare_tail(text: str) -> re.Match[str] | None:
    """Words without `\\text{}` after a number, if all are units or things that are counted."""
    found = _BARE_TAIL.match(text)
    if found is None or "\\" in found[2]:
        return None
    words = [word.rstrip(".") for word in re.split(r"[\s/]+", found[2].lower()) if word.rstrip(".")]
    known = words == ["in"] or all(_is_counted(word, _BARE) or word in ("h", "m", "s") for word in words)
    return found if known and any(len(word) > 1 for word in words) else None


def _is_counted(word: str, units: frozenset[str]) -> bool:
    return word in units | _NOUNS or word.rstrip("s") in units | _NOUNS

"""Numbers in text, and what each is worth where it stands. All scans are linear in the length of the text."""

from __future__ import annotations

import math
import re
from decimal import Decimal

from cppo_verl.rewards.plain import join_thousands

_PART = "(?:third|fourth|fifth|sixth|seventh|eighth|ninth|tenth)"
_PARTS = f"half|halves|quarters?|{_PART}s?"
_COUNTS = (
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    "|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
)
_SCALES = "hundreds?|thousands?|(?:m|b|tr|quadr|quint|sext)illions?|myriads?|lakhs?|crores?|dozens?"
_NO_COMPOUND = rf"(?!-(?!(?:{_COUNTS}|{_SCALES}|{_PARTS}|one|an?|as|of|the|folds?)\b)[a-z])"
"""After a word that is a number: it is none in `three-minute` and `half-hour`."""
_LAST = r"(?=[^a-z]*(?:\Z|[0-9]|(?:of|the|that|what|as|this|its?)\b))"
"""After a word that changes a number, and says of which: `double 24`, `24 double`, not `24 double rooms`."""
_WORDS = (  # that are a number, or change what one is worth; "one" is too often none
    rf"(?:{_COUNTS}|half){_NO_COMPOUND}|zero|{_SCALES}|tens|halves|twice|thrice|squared|cubed|factorial"
    r"|(?:halved|quartered)(?! to\b)"
    rf"|(?:double|(?:tri|quadru|quintu)ple)(?:d|{_LAST})|(?:two|three|four|five|ten|hundred|thousand)-?fold"
    r"|(?:square|cube) (?:root )?of|root of|(?:negative|opposite|reciprocal|inverse) of"
    "|tenths|hundredths?|thousandths?|power of"
    rf"|and (?:an?|one|two|three) (?:{_PARTS})|(?:{_PARTS}) of"
    rf"|to the (?:(?:second )?power|(?:{_PARTS})(?: power|{_LAST}))"
    "|one (?:or|plus|minus|times|(?:more|less|fewer) than)|(?:plus|minus|less|times) one"
)
_NUMBER = re.compile(  # ASCII digits only: `\d` is also every other script's
    rf"([0-9]+(?:\.[0-9]+)?|\.[0-9]+|\b(?:{_WORDS})\b)", re.IGNORECASE
)
_GROUPED = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])")
_UNIT_POWER = re.compile(
    r"(?<![a-zA-Z])((?:[mcdk]?m|in|ft|yd|mi|inch(?:es)?|foot|feet|yards?|miles?|units?|(?:milli|centi|kilo)?met(?:er|re)s?)"
    r"\}?)(?:\^|\*\*) ?\{? ?[23] ?\}?"
)
_LATEX_SPACE = re.compile(r"\\[,;:! ]")
_SIGN_WORD = re.compile(r"(?<!\bone )\b(?:minus|negative)\b(?! (?:one|of)\b)", re.IGNORECASE)
_SIGNS = "+-\uff0b\uff0d\ufe63\u2212\u2010\u2011\u2012\u2013\u2014\u2015"  # every dash: fonts show them alike
_CURRENCY = "$€£¥₹"
_GLUE = " ()[]{}" + _CURRENCY + "\\*_~\u200b\u200c\u200d\u2060\ufeff"
"""What may stand between a number and what changes it: spaces (of no width too), brackets, currency, emphasis."""
_OTHER_DIGIT = r"(?:[^\D0-9]|[²³¹¼-¾\u2070-\u209c\u2150-\u218b])"  # another script's, raised, lowered, fractions
_CHANGED_BEFORE = re.compile(
    rf"(?:[√∛∜±∓≠^]|sqrt|\\(?:pm|mp|neq?)|{_OTHER_DIGIT}[.,]?"
    r"|(?<!\bno )(?<!\bnot )\b(?i:more|less|fewer|greater|higher|lower|larger|smaller) than)\Z"
)
_CHANGED_AFTER = re.compile(
    rf"!|(?:[kKMBx]|bn|mn|mil|mln|(?i:doz|thou|{_PART}s))(?![a-zA-Z])|\^(?! ?\{{? ?\\circ)|[.,]?{_OTHER_DIGIT}"
    rf"|(?i:score|{_PART})(?= of\b|[^a-zA-Z]*\Z)"
)
_DOZEN_DOZENS = re.compile(r"gross(?= of\b|[^a-zA-Z]*\Z)", re.IGNORECASE)


def gold_text(gold: object) -> str:
    """A gold as text; an `int` or `float` as `plain_number` (72.0 is 72: a column with gaps turns into floats).

    Raises:
        TypeError: it is neither text nor a finite number.
    """
    if isinstance(gold, str):
        return gold
    if isinstance(gold, int | float) and not isinstance(gold, bool) and math.isfinite(gold):
        return plain_number(Decimal(str(gold)))
    raise TypeError(f"the gold must be text, not {gold!r} ({type(gold).__name__})")


def find_numbers(text: str) -> list[Decimal | None]:
    """Every number in the text, in order, exactly (no float: 100 digits stay 100 digits).

    A sign counts across a space, as any dash and as a word (`- 72`, `minus 72`), but not inside a word (`covid-19`).
    None stands for a number that what is next to it changes: `√72`, `72!`, `72²`, `^72`, `±72`, `--72`, or a
    digit of another script; or for a word that is a number or changes one: `72 million`, `twice 72`, `72k`. Other words
    are not read: 72 is the number of `not 72` and of `72 dollars`.
    """
    joined = _UNIT_POWER.sub(r"\1", drop_thousands_commas(join_thousands(text)))
    spaced = " ".join(_LATEX_SPACE.sub(" ", joined).split())
    between, digits = (_NUMBER.split(_SIGN_WORD.sub("-", spaced))[start::2] for start in (0, 1))
    return [_value(*found) for found in zip(between, digits, between[1:], strict=False)]


def only_number(text: str) -> Decimal | None:
    """The number of a text that holds exactly one, and one that can be read."""
    numbers = find_numbers(text)
    return numbers[0] if len(numbers) == 1 else None


def drop_thousands_commas(text: str) -> str:
    """Trimmed text with `1,234,567` as `1234567`; a comma that groups no thousands stays (`1,2` is no 12)."""
    return _GROUPED.sub(lambda found: found[0].replace(",", ""), text).strip()


def plain_number(number: Decimal) -> str:
    """The shortest way to write it in digits: `18.0`, `018` and `+18` are 18."""
    whole, _, decimals = f"{number:f}".partition(".")
    plain = f"{whole}.{decimals.rstrip('0')}".rstrip(".")
    return "0" if plain == "-0" else plain


def _value(before: str, digits: str, after: str) -> Decimal | None:
    """A number with its sign, from the text on either side as far as the next numbers."""
    if not digits[-1:].isdigit():
        return None
    start, end = before.rstrip(_GLUE), after.lstrip(_GLUE)
    word = start.rstrip(_SIGNS + _GLUE)
    around = start[len(word) :]
    is_hyphen = word[-1:].isalnum() and around[:1] in _SIGNS
    signs = "" if is_hyphen else "".join(character for character in around if character in _SIGNS)
    if len(signs) > 1 or _CHANGED_BEFORE.search(word) or _CHANGED_AFTER.match(end):
        return None
    beside = before[len(start) :] + after[: len(after) - len(end)]
    if _DOZEN_DOZENS.match(end) and not set(_CURRENCY) & set(beside):  # $500 gross is before taxes
        return None
    number = Decimal(digits)
    return number if signs in ("", "+", "\uff0b") else number.copy_negate()  # a minus would round to 28 digits

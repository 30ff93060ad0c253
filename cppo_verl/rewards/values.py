r"""One value against the gold's, by what that is: words, a clock time, a numeral with its base, a number, a relation.

A plain number wants a number that is worked out (`literals`). What is no plain number is left to math-verify.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cppo_verl.rewards.answers import Part
from cppo_verl.rewards.intervals import is_inequality
from cppo_verl.rewards.literals import read_literal, same
from cppo_verl.rewards.matching import same_name
from cppo_verl.rewards.plain import squeezed
from cppo_verl.rewards.quantities import Quantity, read_quantity, same_unit
from cppo_verl.rewards.result import Outcome
from cppo_verl.rewards.symbolic import TIME_LIMIT_S, equivalent, readable

_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?(?:(?:\\text\{)?(?:am|pm)\}?)?", re.IGNORECASE)
_BARE_WORD = re.compile(r"[A-Za-z]{2,}")
_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_CHOICE = re.compile(r"\(?([A-Z])\)?")
_STRIPPED = re.compile(r"\\text|[\s{}().,'\"-]")
_LETTERS = re.compile(r"(?<![a-zA-Z\\])[a-zA-Z]")
_FRACTION = re.compile(r"\\frac|/")
_ASKED_PLACES = 5
"""Digits after the point from which on a gold was asked for as a decimal: nobody else writes .35625."""
_ADJACENT = re.compile(r"(?<![_^])[0-9] +[0-9]")


@dataclass(frozen=True)
class Rules:
    """What a data set says of its golds."""

    timeout: float = TIME_LIMIT_S
    """Seconds that one symbolic comparison may take."""
    tolerance: float = 0.0
    """How far a number may be from the gold."""
    unit: str = ""
    """Of every gold value."""
    form: bool = False
    """Whether a product wants a product, and what is expanded something expanded."""


def compare_values(gold: Part, answer: Part, rules: Rules) -> Outcome:
    """What becomes of one value; neither part is a group.

    Returns:
        `equal`; `unworked` where it has the gold's value and is left to work out; `different`; `unparseable`; or a
        failure.
    """
    if squeezed(gold.written) == squeezed(answer.written) and gold.written:
        return "equal"
    if (letter := _CHOICE.fullmatch(gold.written)) and re.match(rf"\(?{letter[1]}(?:\)|[.:] )", answer.written):
        return "equal"  # C. x = 42
    if _is_equation(gold):
        return _compare_relations(gold, answer, rules)
    if not same_name(gold, answer) or (answer.relation and not answer.sides):
        return "different"
    best: Outcome = "unworked"
    for side in (answer.text, *answer.sides):  # 2+3=5: every side has to be worth the gold, and one worked out
        outcomes = [_compare(text, side, rules) for text in _alternatives(gold)]
        outcome = next((found for found in ("equal", "unworked") if found in outcomes), outcomes[0])
        if outcome not in ("equal", "unworked"):
            return outcome
        best = "equal" if outcome == "equal" else best
    return best


def check_value(gold: Part, timeout: float = TIME_LIMIT_S) -> Outcome:
    """`equal` where an answer in another spelling can be compared with the gold, or is words; else a failure."""
    if _is_text(gold.text) or (read_quantity(gold.text) and read_literal(read_quantity(gold.text).value)):
        return "equal"
    written = gold.written if _is_equation(gold) else getattr(read_quantity(gold.text), "value", "")
    return readable(written, timeout=timeout)


def _alternatives(gold: Part) -> tuple[str, ...]:
    """A gold may say its value more than once: `0.56 = 56\\%`, `\\frac{2}{3} \\approx 0.67`."""
    return (gold.text, *gold.sides, *gold.approximations)


def _is_equation(gold: Part) -> bool:
    """Whether a gold is a relation between variables, not the value of a name."""
    if is_inequality(gold.written):
        return True
    if gold.relation:
        return any(_LETTERS.search(side) for side in (gold.text, *gold.sides))
    return len(gold.label) == 1 and bool(_LETTERS.search(gold.text))  # y = 2x + 3


def _compare_relations(gold: Part, answer: Part, rules: Rules) -> Outcome:
    if (
        answer.relation
        or (answer.label and answer.label == gold.label)
        or (len(answer.label) == 1 and not gold.relation)
    ):
        return equivalent(gold.written, answer.written, timeout=rules.timeout, relation=True)
    if gold.label and not gold.relation and not answer.relation:
        return _compare(gold.text, answer.text, rules)
    if answer.label and len(answer.label) == 1:  # y = 2x + 3 where the gold is 2x - y + 3 = 0
        return equivalent(gold.written, answer.written, timeout=rules.timeout, relation=True)
    return "different"


def _compare(gold: str, answer: str, rules: Rules) -> Outcome:
    if _unwrapped(gold) == _unwrapped(answer) or (_BARE_WORD.fullmatch(gold) and gold == _STRIPPED.sub("", answer)):
        return "equal"
    if _is_text(gold):
        return "equal" if _wording(answer, gold) == _wording(gold, gold) else "different"
    ours, theirs = read_quantity(gold), read_quantity(answer)
    if ours is None or theirs is None:
        return "bad_gold" if ours is None else "unparseable"
    unit = _unit_of(ours, rules)
    if not same_unit(unit, theirs.unit) or not _same_base(ours, theirs):
        return "different"
    if _ADJACENT.search(theirs.value) and read_literal(theirs.value) is None:
        return "unparseable"
    return _compare_numbers(ours, theirs, unit, rules)


def _compare_numbers(gold: Quantity, answer: Quantity, unit: str, rules: Rules) -> Outcome:
    number, given = read_literal(gold.value), read_literal(answer.value)
    if not number or not given:
        return equivalent(gold.value, answer.value, timeout=rules.timeout, tolerance=rules.tolerance, form=rules.form)
    if rules.form and (number.places or 0) >= _ASKED_PLACES and _FRACTION.search(answer.value):
        return "unworked" if number.value == given.value else "different"
    if same(number, given) or (rules.tolerance and abs(number.value - given.value) <= rules.tolerance):
        return "equal"
    hundredth = answer.unit == "%" and not unit and number.value * 100 == given.value
    return "equal" if hundredth else "different"


def _unit_of(gold: Quantity, rules: Rules) -> str:
    return rules.unit or gold.unit


def _same_base(gold: Quantity, answer: Quantity) -> bool:
    if gold.base is None:
        return answer.base in (None, 10)
    return answer.base in (None, gold.base)


def _is_text(gold: str) -> bool:
    r"""Words, a choice, a clock time: what only the same text equals. `\text{}` after a number is a unit."""
    bare = re.sub(r"\\(?!text\b)[a-zA-Z]+", "", gold).strip()
    if _CLOCK.fullmatch(squeezed(bare)) or _CHOICE.fullmatch(bare):
        return True
    return bool(re.match(r"\\text\{", bare)) or bool(
        re.fullmatch(r"[A-Za-z][a-zA-Z ]*[a-zA-Z]", bare) and bare.isupper()
    )


def _unwrapped(text: str) -> str:
    """Without spaces, and with words as they are: `9 values` is `9\\text{values}`."""
    return squeezed(_TEXT.sub(r"\1", text))


def _wording(text: str, gold: str) -> str:
    """Letters and digits; without case where the gold is a word, and no letters such as `n` or `AB`."""
    words, letters = _STRIPPED.sub("", text), _STRIPPED.sub("", gold)
    return words if len(letters) == 1 or gold == letters else words.lower()

r"""Whether an answer is a formula that stands in the question, and not the gold: then nothing was worked out.

`\frac{1}{2}+\frac{1}{3}` for a sum to work out is told by its form (`work_left`). Whether `ab+5b+2a+10` may stand for
`(a+5)(b+2)` only the question says: one that gives the sum asks for the product.
"""

from __future__ import annotations

import re

from cppo_verl.rewards.brackets import is_name, split
from cppo_verl.rewards.forms import form_of
from cppo_verl.rewards.literals import read_literal
from cppo_verl.rewards.plain import plain
from cppo_verl.rewards.quantities import Quantity, read_quantity

_FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$(.+?)(?<!\\)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL)
_DIGITS = re.compile(r"[0-9]+")
_REPEATING = re.compile(r"\\(?:overline|bar|dot)")


def is_copied(answer: str, gold: str, question: str) -> bool:
    """Whether the value that an answer gives is a side of a formula of the question, in another form than the gold's.

    Order, brackets, bars and factors 1 make no other form (`forms`). A number is copied where it is written in another
    way than the gold: as a decimal, per cent, a repeating decimal, a mixed number for its fraction, a fraction for its
    decimal, or a fraction for its lowest terms: `\\frac{84}{144}`.
    """
    given, wanted = [side for side in _sides(answer) if not is_name(side.value)][-1:], _sides(gold)
    if not question or not given or not _is_formula(given[0], wanted):
        return False
    form = form_of(given[0].value)
    if form in [form_of(side.value) for side in wanted]:
        return False
    sides = (side for formula in _formulas(question) for side in _sides(formula))
    return any(form == form_of(side.value) and _is_percent(side) == _is_percent(given[0]) for side in sides)


def _is_formula(given: Quantity, golds: list[Quantity]) -> bool:
    """Whether an answer is one that a copy can be told by: not a number written as the gold is, and an integer only
    where the gold is in scientific notation."""
    way, ways = _way(given), {_way(gold) for gold in golds}
    if way == "fraction" and _DIGITS.findall(given.value)[-1] != str(read_literal(given.value).value.denominator):
        return True
    if way == "integer":
        return ways == {"scientific"}
    return way == "formula" or (way not in ways and not (way == "decimal" and "integer" in ways))


def _way(side: Quantity) -> str:
    """How a number is written."""
    number, digits = read_literal(side.value), len(_DIGITS.findall(side.value))
    if number is None:
        return "formula"
    if _is_percent(side):
        return "per cent"
    if _REPEATING.search(side.value):
        return "repeating"
    if number.places is not None:
        return "decimal"
    if r"\cdot" in side.value:
        return "scientific"
    return {1: "integer", 2: "fraction"}.get(digits, "mixed")


def _is_percent(side: Quantity) -> bool:
    return side.unit == "%"


def _formulas(question: str) -> list[str]:
    return [next(filter(None, found), "") for found in _FORMULA.findall(question)]


def _sides(formula: str) -> list[Quantity]:
    """The sides of a formula in one spelling."""
    return [read_quantity(side) or Quantity(side) for side in split(plain(formula), "=", r"\approx")]

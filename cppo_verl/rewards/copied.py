r"""Whether an answer is a formula that stands in the question, and not the gold: then nothing was worked out.

`\frac{1}{2}+\frac{1}{3}` for a sum to work out is told by its form (`work_left`). Whether `ab+5b+2a+10` may stand for
`(a+5)(b+2)` only the question says: one that gives the sum asks for the product.
"""

from __future__ import annotations

import re

from cppo_verl.rewards.brackets import is_name, split
from cppo_verl.rewards.forms import form_of
from cppo_verl.rewards.literals import Literal, read_literal
from cppo_verl.rewards.plain import plain
from cppo_verl.rewards.quantities import read_quantity

_FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$(.+?)(?<!\\)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL)
_DIGITS = re.compile(r"[0-9]+")


def is_copied(answer: str, gold: str, question: str) -> bool:
    """Whether the value that an answer gives is a side of a formula of the question, in another form than the gold's.

    Order, brackets, bars and factors 1 make no other form (`forms`). Numbers are copied only as fractions for which the
    gold has a decimal, or lower terms: `\\frac{84}{144}`.
    """
    given, wanted = [side for side in _sides(answer) if not is_name(side)][-1:], _sides(gold)
    if not question or not given or not _is_formula(given[0], [read_literal(side) for side in wanted]):
        return False
    form = form_of(given[0])
    if form in map(form_of, wanted):
        return False
    return any(form == form_of(side) for formula in _formulas(question) for side in _sides(formula))


def _is_formula(given: str, golds: list[Literal | None]) -> bool:
    number = read_literal(given)
    if number is None:
        return True
    digits = _DIGITS.findall(given)
    if number.places is not None or len(digits) == 1:
        return False
    lowest = digits[-1] == str(number.value.denominator)
    return not lowest or any(gold is not None and gold.places is not None for gold in golds)


def _formulas(question: str) -> list[str]:
    return [next(filter(None, found), "") for found in _FORMULA.findall(question)]


def _sides(formula: str) -> list[str]:
    """The sides of a formula in one spelling, without units."""
    sides = split(plain(formula), "=", r"\approx")
    return [quantity.value if (quantity := read_quantity(side)) else side for side in sides]

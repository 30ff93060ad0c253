r"""Whether an answer is a formula that stands in the question, and not the gold: then nothing was worked out.

`\frac{1}{2}+\frac{1}{3}` for a sum to work out is told by its form (`work_left`). Whether `ab+5b+2a+10` may stand for
`(a+5)(b+2)` only the question says: one that gives the sum asks for the product.
"""

from __future__ import annotations

import re

from cppo_verl.rewards.brackets import split
from cppo_verl.rewards.literals import read_literal
from cppo_verl.rewards.plain import plain, squeezed

_FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$(.+?)(?<!\\)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL)
_INTEGER = re.compile(r"[-+]?[0-9]+")


def is_copied(answer: str, gold: str, question: str) -> bool:
    """Whether the value that an answer gives is a side of a formula of the question, in another form than the gold's.

    Numbers are copied only as fractions for which the gold has a decimal, or lower terms: `\\frac{84}{144}`.
    """
    given, wanted = _sides(answer)[-1:], _sides(gold)
    if not given or given[0] in wanted or not _is_formula(given[0], wanted):
        return False
    return any(given[0] in _sides(formula) for formula in _formulas(question))


def _is_formula(given: str, wanted: list[str]) -> bool:
    number = read_literal(given)
    if number is None:
        return True
    if number.places is not None or _INTEGER.fullmatch(given):
        return False
    golds = [read_literal(side) for side in wanted]
    lowest = squeezed(given).endswith((f"{{{number.value.denominator}}}", f"/{number.value.denominator}"))
    return not lowest or any(gold is not None and gold.places is not None for gold in golds)


def _formulas(question: str) -> list[str]:
    return [next(filter(None, found), "") for found in _FORMULA.findall(question)]


def _sides(formula: str) -> list[str]:
    return [squeezed(side) for side in split(plain(formula), "=", r"\approx")]

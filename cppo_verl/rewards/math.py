"""Reward for MATH: format 0/1 plus accuracy 2 or 0 by symbolic equivalence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cppo_verl.rewards.boxed import BoxedReward
from cppo_verl.rewards.latex import clean, last_boxed
from cppo_verl.rewards.numbers import PLAIN, drop_thousands_commas, only_number, plain_number
from cppo_verl.rewards.result import FAILURES
from cppo_verl.rewards.symbolic import Outcome, check_gold, equivalent

_SHORT_FRACTION = re.compile(r"\\frac([0-9])([0-9])")


def judge(gold: str, answer: str | None, extra: Mapping[str, Any], timeout: float) -> Outcome:
    """What becomes of a comparison by symbolic equivalence; nothing of `extra` is read."""
    return "no_answer" if answer is None else equivalent(gold, answer, timeout=timeout)


compute_score = BoxedReward(judge)


def extract_answer(completion: str) -> str | None:
    r"""The answer as a vote counts it: the cleaned box without white space, a number as `plain_number`, `\frac12`
    with its braces; None without a box, or if it is empty."""
    answer = "".join(drop_thousands_commas(clean(last_boxed(completion) or "")).split())
    if PLAIN.fullmatch(answer) and (number := only_number(answer)) is not None:
        return plain_number(number)
    return _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", answer) or None


def parse_gold(solution: str) -> str:
    r"""The gold of a MATH solution: what its last `\boxed` holds.

    Raises:
        ValueError: there is no closed box, it is empty, or math-verify cannot read what it holds.
    """
    gold = last_boxed(solution)
    if not gold:
        raise ValueError("the solution has no closed \\boxed" if gold is None else "the \\boxed is empty")
    if (outcome := check_gold(gold)) in FAILURES:
        raise ValueError(f"the boxed gold cannot be read ({outcome}): {gold[:80]!r}")
    return gold


def parse_answer(answer: str) -> str:
    """The gold of a data set that gives the bare answer, without a solution around it.

    Raises:
        ValueError: math-verify cannot read it.
    """
    if (outcome := check_gold(answer)) in FAILURES:
        raise ValueError(f"the gold cannot be read ({outcome}): {answer[:80]!r}")
    return answer.strip()


def parse_number(answer: str) -> str:
    """The gold of AMC and AIME, a number: `27.0` is 27, `025` is 25.

    Raises:
        ValueError: it is not one number.
    """
    number = only_number(answer)
    if number is None:
        raise ValueError(f"the gold is not one number: {answer[:80]!r}")
    return plain_number(number)

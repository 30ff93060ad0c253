"""Reward for MATH: format 0/1 plus accuracy 2 or 0 by symbolic equivalence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cppo_verl.rewards.answers import is_one_number, parse_listing, readings
from cppo_verl.rewards.boxed import BoxedReward
from cppo_verl.rewards.judging import judge_list
from cppo_verl.rewards.latex import last_boxed
from cppo_verl.rewards.literals import read_literal
from cppo_verl.rewards.numbers import only_number, plain_number
from cppo_verl.rewards.plain import plain, squeezed
from cppo_verl.rewards.result import FAILURES, Outcome
from cppo_verl.rewards.values import Rules, check_value


def judge(gold: str, answer: str | None, extra: Mapping[str, Any], timeout: float) -> Outcome:
    """What becomes of a comparison with a gold of MATH.

    Whether "x^2-4" is asked for or "(x-2)(x+2)" is in the `question` of `extra`, and its own formula is no answer
    (`boxed`). Without the question, the form of the gold says what is asked for.
    """
    one_number = is_one_number(gold)  # 22,500
    return judge_list(
        readings(gold, lists=not one_number, numbers=one_number), answer, Rules(timeout, form=not extra.get("question"))
    )


compute_score = BoxedReward(judge)
compute_scores = compute_score.of_many


def extract_answer(completion: str) -> str | None:
    r"""The answer as a vote counts it: the box in one spelling, without white space; a number as `plain_number`. None
    without a box, or if it is empty."""
    answer = squeezed(plain(last_boxed(completion) or ""))
    if is_one_number(answer):
        answer = answer.replace(",", "")
    if "." in answer and (number := read_literal(answer)) is not None and number.places is not None:
        return plain_number(only_number(answer))
    return answer or None


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


def check_gold(gold: str) -> Outcome:
    """`equal`, or the first failure among the values of a gold."""
    outcomes = [check_value(leaf) for leaf in parse_listing(gold).leaves()] or ["bad_gold"]
    return next((outcome for outcome in outcomes if outcome in FAILURES), "equal")

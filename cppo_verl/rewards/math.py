"""Reward for MATH: format 0/1 plus accuracy 2 or 0 by symbolic equivalence."""

from __future__ import annotations

import re

from cppo_verl.rewards.latex import clean, last_boxed
from cppo_verl.rewards.numbers import PLAIN, drop_thousands_commas, gold_text, only_number, plain_number
from cppo_verl.rewards.result import FAILURES, result
from cppo_verl.rewards.symbolic import TIME_LIMIT_S, Outcome, check_gold, equivalent
from cppo_verl.rewards.tags import has_format

EQUAL = 2.0

_SHORT_FRACTION = re.compile(r"\\frac([0-9])([0-9])")


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict | None = None,
    *,
    timeout: float = TIME_LIMIT_S,
    **_: object,
) -> dict[str, float | str]:
    r"""Score one completion; the signature is the one verl calls, from any thread.

    The answer is the last `\boxed` of the whole completion, inside `<answer>` or not: layout is the format
    reward's business, and "wrong format, right answer" is one of the paper's four kinds (Table 3). With
    several boxes only the last counts, so listing candidates earns nothing.

    Args:
        data_source: not used; verl passes it.
        solution_str: the completion, without the prompt.
        ground_truth: LaTeX of the gold answer, without `\boxed` and dollar signs.
        extra_info: not used; verl passes it.
        timeout: seconds one symbolic comparison may take.

    Returns:
        `score` (format + accuracy, 0 to 3), `acc` (0.0 or 1.0), `format` (0.0 or 1.0), `verify_failed`
        (1.0 when the comparison timed out, crashed or met an unreadable gold; its accuracy is then 0) and
        `outcome`, the reason in a word; always these keys. Never raises on any text.

    Raises:
        TypeError: the gold is neither text nor a number.
    """
    gold = gold_text(ground_truth)
    layout = float(has_format(solution_str))
    answer = last_boxed(solution_str)
    outcome: Outcome = "no_answer" if answer is None else equivalent(gold, answer, timeout=timeout)
    return result(layout + EQUAL * (outcome == "equal"), layout, outcome)


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

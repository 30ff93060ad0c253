r"""Reward for answers in `\boxed{}`, such as MATH's: 1 where it is right by symbolic equivalence, else 0."""

from __future__ import annotations

from cppo_verl.rewards.latex import last_boxed
from cppo_verl.rewards.math import extract_answer as extract_answer
from cppo_verl.rewards.math import judge
from cppo_verl.rewards.numbers import gold_text
from cppo_verl.rewards.result import result
from cppo_verl.rewards.symbolic import TIME_LIMIT_S


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

    The answer is the last `\boxed`, compared as in `rewards.math`. There is no reward for the format alone.

    Args:
        data_source: not used; verl passes it.
        solution_str: the completion, without the prompt.
        ground_truth: LaTeX of the gold answer, without `\boxed` and dollar signs.
        extra_info: not used; verl passes it.
        timeout: seconds one symbolic comparison may take.

    Returns:
        As `result`; `format` is 1.0 where there is a closed box. Never raises on any text.

    Raises:
        TypeError: the gold is neither text nor a number.
    """
    gold, answer = gold_text(ground_truth), last_boxed(solution_str)
    outcome = judge(answer, gold, timeout)
    return result(float(outcome == "equal"), float(answer is not None), outcome)

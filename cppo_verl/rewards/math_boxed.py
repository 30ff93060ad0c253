r"""Reward for answers in `\boxed{}`, such as MATH's: 1 where it is right by symbolic equivalence, else 0."""

from __future__ import annotations

from cppo_verl.rewards import math
from cppo_verl.rewards.latex import last_boxed
from cppo_verl.rewards.math import extract_answer as extract_answer
from cppo_verl.rewards.result import result


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict | None = None, **options: object
) -> dict[str, float | str]:
    r"""Score one completion by the last `\boxed`, compared as in `rewards.math`; the signature is the one verl calls.

    Args:
        data_source: not used; verl passes it.
        solution_str: the completion, without the prompt.
        ground_truth: LaTeX of the gold answer, without `\boxed` and dollar signs.
        extra_info: not used; verl passes it.
        options: those of `rewards.math`.

    Returns:
        As `result`, without a reward for the format; `format` is 1.0 where there is a closed box. Never raises on any
        text.

    Raises:
        TypeError: the gold is neither text nor a number.
    """
    found = math.compute_score(data_source, solution_str, ground_truth, extra_info, **options)
    return result(found["acc"], float(last_boxed(solution_str) is not None), found["outcome"])

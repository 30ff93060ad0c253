"""Reward for GSM8K with the answer after `####`: 1 where it is right, else 0."""

from __future__ import annotations

from cppo_verl.rewards.gsm8k import as_vote, judge
from cppo_verl.rewards.numbers import gold_text
from cppo_verl.rewards.result import result

MARKER = "####"


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict | None = None, **_: object
) -> dict[str, float | str]:
    """Score one completion; the signature is the one verl calls.

    The answer is what follows the last `####`, as far as the end of its line, and has to hold exactly one number.
    There is no reward for the format alone: without the marker there is no answer.

    Args:
        data_source: not used; verl passes it.
        solution_str: the completion, without the prompt.
        ground_truth: the gold number as a string.
        extra_info: not used; verl passes it.

    Returns:
        As `result`; `format` is 1.0 where the marker is there. Never raises on any text.

    Raises:
        TypeError: the gold is neither text nor a number.
    """
    answer = marked_answer(solution_str)
    _, outcome = judge(answer, gold_text(ground_truth))
    return result(float(outcome == "equal"), float(answer is not None), outcome)


def marked_answer(completion: str) -> str | None:
    """What follows the last `####` on its line, trimmed; None without the marker."""
    _, marker, rest = completion.rpartition(MARKER)
    return rest.partition("\n")[0].strip() if marker else None


def extract_answer(completion: str) -> str | None:
    """The answer as a vote counts it: its only number as `plain_number`, else its text; None without an answer."""
    return as_vote(marked_answer(completion))

"""From what a box holds and the gold to an outcome: structure by `answers`, lists by `matching`, values by `values`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from cppo_verl.rewards.answers import Part, readings
from cppo_verl.rewards.matching import match_list
from cppo_verl.rewards.result import FAILURES, Outcome
from cppo_verl.rewards.tags import MAX_CHARS
from cppo_verl.rewards.values import Rules, compare_values


def judge_list(golds: Sequence[Part], answer: str | None, rules: Rules) -> Outcome:
    """What becomes of an answer that may be read in several ways, as may the gold: the best of them.

    Args:
        golds: the gold's readings, each a list.
        answer: what the last box holds; None without a closed one.
        rules: what the data set says of its golds.
    """
    if answer is None or not answer.strip():
        return "no_answer"
    if len(answer) > MAX_CHARS:
        return "too_long"
    compare = partial(compare_values, rules=rules)
    best: Outcome = "different"
    found = readings(answer)
    if not any(reading.items for reading in found):
        return "no_answer"
    for reading in found:
        for gold in golds:
            outcome = match_list(gold, reading, compare)
            if outcome == "equal" or outcome in FAILURES:
                return outcome
            best = outcome if best == "different" or outcome == "unworked" else best
    return best

"""What every reward function returns."""

from __future__ import annotations

from typing import Literal

Outcome = Literal[
    "equal", "unworked", "different", "no_answer", "too_long", "unparseable", "bad_gold", "timed_out", "crashed"
]
"""What became of an answer. `unworked`: it has the gold's value, and is not worked out (`71+1` for 72)."""

FAILURES: frozenset[Outcome] = frozenset({"bad_gold", "timed_out", "crashed"})
"""Outcomes that say nothing about the answer: counted, and worth no reward."""


def result(score: float, layout: float, outcome: Outcome) -> dict[str, float | str]:
    """The keys that verl is given, always these: `score`; `acc`, 1.0 where the answer is right; `format`;
    `verify_failed`, 1.0 where the comparison failed; `outcome`, the reason in a word."""
    return {
        "score": score,
        "acc": float(outcome == "equal"),
        "format": layout,
        "verify_failed": float(outcome in FAILURES),
        "outcome": outcome,
    }

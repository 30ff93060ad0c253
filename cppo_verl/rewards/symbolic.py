"""Equality of two LaTeX values by math-verify, in processes that can be killed (`pool`).

A completion may hold anything: towers of powers hang sympy inside one C call, factorials eat the memory. math-verify's
own limit is a signal, which needs the main thread; verl scores from threads of a Ray worker.
"""

from __future__ import annotations

from functools import lru_cache

from cppo_verl.rewards.plain import squeezed
from cppo_verl.rewards.pool import WORKERS as WORKERS
from cppo_verl.rewards.pool import pool
from cppo_verl.rewards.pool import shutdown as shutdown
from cppo_verl.rewards.result import FAILURES, Outcome
from cppo_verl.rewards.tags import MAX_CHARS

TIME_LIMIT_S = 5.0


def equivalent(
    gold: str,
    answer: str,
    *,
    timeout: float = TIME_LIMIT_S,
    tolerance: float = 0.0,
    relation: bool = False,
    form: bool = False,
) -> Outcome:
    """Compare an answer with the gold, both LaTeX values in one spelling (`plain`); safe from any thread.

    Args:
        gold: the reference.
        answer: what is compared with it.
        timeout: seconds of processor time a worker may spend on this pair.
        tolerance: how far two numbers may be apart and still be equal.
        relation: whether both are equations or inequalities.
        form: whether a product wants a product, and what is expanded something expanded.

    Returns:
        `equal`, `unworked`, `different`, `unparseable`, `too_long` or `no_answer` (the answer is), or one of
        `result.FAILURES`. An outcome that is no failure is remembered.

    Raises:
        WorkerError: there is no process to compare in; the message says what to do.
    """
    if len(answer) > MAX_CHARS:
        return "too_long"
    if not answer:
        return "no_answer"
    if squeezed(gold) == squeezed(answer):
        return "equal"
    try:
        return _remembered(gold, answer, relation, tolerance, form, timeout)
    except _Failed as failure:
        return failure.outcome


def readable(gold: str, *, timeout: float = TIME_LIMIT_S) -> Outcome:
    """`equal` if a gold can be read, and compared with itself, in a worker; else one of `result.FAILURES`."""
    if not gold or len(gold) > MAX_CHARS:
        return "bad_gold"
    outcome = pool().compare((gold, gold, False, 0.0), timeout)
    return outcome if outcome in FAILURES else "equal"


class _Failed(Exception):
    """Keeps an outcome that says nothing about the answer out of the memory."""

    def __init__(self, outcome: Outcome):
        super().__init__(outcome)
        self.outcome = outcome


@lru_cache(maxsize=4096)
def _remembered(gold: str, answer: str, relation: bool, tolerance: float, form: bool, timeout: float) -> Outcome:
    outcome = pool().compare((gold, answer, relation, tolerance, form), timeout)
    if outcome in FAILURES:
        raise _Failed(outcome)
    return outcome

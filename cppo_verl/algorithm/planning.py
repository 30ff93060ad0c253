"""From P, G and batch sizes to a `StepPlan`, or to why there is none and the nearest values that work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from heapq import merge
from itertools import islice
from math import floor

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.options import CPPOConfig, MiniBatch, as_written
from cppo_verl.algorithm.step_plan import StepPlan

TRIES = 4096
"""Values of an option that are tried at the most for one that works."""


def plan_step(
    pruning_rate: float | str | Fraction,
    rollout_n: int,
    train_batch_size: int,
    ppo_mini_batch_size: int,
    dp_size: int = 1,
    *,
    allocation: bool = True,
    mini_batch: MiniBatch = CPPOConfig.mini_batch,
) -> StepPlan:
    """Plan a step from P, G, the batch and mini-batch size in questions, and the data-parallel size.

    Args:
        pruning_rate: P.
        rollout_n: G.
        train_batch_size: Questions of a step of GRPO.
        ppo_mini_batch_size: Questions of an update of GRPO.
        dp_size: Data-parallel ranks.
        allocation: Whether the freed room is filled with completions of additional questions.
        mini_batch: What of GRPO's an update's size keeps then; see `CPPOConfig.mini_batch`.

    Raises:
        ConfigError: Some count is not whole or does not split over the ranks. The message holds the
            numbers, and the nearest P, G and train_batch_size that work.
    """
    for name, value in (
        ("actor_rollout_ref.rollout.n", rollout_n),
        ("data.train_batch_size", train_batch_size),
        ("actor_rollout_ref.actor.ppo_mini_batch_size", ppo_mini_batch_size),
        ("the data-parallel size", dp_size),
    ):
        if value < 1:
            raise ConfigError(f"{name}={value} must be at least 1")
    rate, by_questions = as_written(pruning_rate), not allocation or mini_batch == "questions"
    asked = _Request(rate, rollout_n, train_batch_size, ppo_mini_batch_size, dp_size, allocation, by_questions)
    fault = asked.fault()
    if fault:
        raise ConfigError(f"{fault}. {_advice(asked)}")
    return asked.plan()


@dataclass(frozen=True)
class _Request:
    rate: Fraction
    n: int
    batch: int
    mini: int
    dp: int
    allocation: bool
    by_questions: bool
    """An update is of `mini` questions, not of as many completions as they have."""

    def fault(self) -> str | None:
        """What keeps this request from being planned, or None."""
        k = self.n * (1 - self.rate)
        given = f"P={decimal(self.rate)}, G={self.n}"
        if k.denominator != 1 or not 1 <= k <= self.n:
            return f"{given}: k = G(1-P) = {decimal(k)} completions per question is not a whole number from 1 to G"
        if self.batch % self.mini:
            return f"train_batch_size={self.batch} is not a multiple of ppo_mini_batch_size={self.mini}"
        if self.allocation and (self.batch * self.n) % k:
            return (
                f"{given}, train_batch_size={self.batch}: a step of {self.batch}*{self.n} completions takes "
                f"{self.batch * self.n}/{k} questions, not a whole number"
            )
        if self.allocation and self.by_questions and (self.batch * self.n // int(k)) % self.mini:
            return (
                f"{given}, cppo.mini_batch=questions: the {self.batch * self.n // int(k)} questions of a step do not "
                f"split into mini-batches of ppo_mini_batch_size={self.mini}"
            )
        per_question = int(k) if self.by_questions else self.n
        if (self.mini * per_question) % self.dp:
            return (
                f"{given}, allocation {'on' if self.allocation else 'off'}: a mini-batch of "
                f"{self.mini}*{per_question} = {self.mini * per_question} completions does not split over "
                f"{self.dp} ranks"
            )
        return None

    def plan(self) -> StepPlan:
        keep = int(self.n * (1 - self.rate))
        rows = self.batch * (self.n if self.allocation else keep)
        mini_batch_rows = self.mini * (keep if self.by_questions else self.n)
        return StepPlan(self.n, keep, rows // keep, rows, mini_batch_rows, self.dp)


def _advice(asked: _Request) -> str:
    """One working change for each of P, G and the batch size, where there is one near."""
    tries = {
        "cppo.pruning_rate": ("rate", _rates(asked), decimal),
        "actor_rollout_ref.rollout.n": ("n", _multiples(asked.n, (1 - asked.rate).denominator), str),
        "data.train_batch_size": ("batch", _multiples(asked.batch, asked.mini), str),
        "actor_rollout_ref.actor.ppo_mini_batch_size": ("mini", _nearest(asked.mini, asked.batch), str),
    }
    found = []
    for name, (field, values, show) in tries.items():
        works = (value for value in islice(values, TRIES) if not replace(asked, **{field: value}).fault())
        found += [f"{name}={show(value)}" for value in islice(works, 1)]
    return "Nearest that works: " + ", or ".join(found) if found else "No single nearby change works"


def _rates(asked: _Request) -> Iterator[Fraction]:
    """P of which k is whole, the nearest first."""
    return (1 - Fraction(k, asked.n) for k in _nearest(asked.n * (1 - asked.rate), asked.n))


def _multiples(value: int, unit: int) -> Iterator[int]:
    """Multiples of a unit, those nearest to a value first."""
    return (unit * times for times in _nearest(Fraction(value, unit), (5 * value + 64) // unit))


def _nearest(value: int | Fraction, most: int) -> Iterator[int]:
    """Whole numbers from 1, those nearest to a value first."""
    below = floor(value)
    sides = range(min(below, most), 0, -1), range(max(below + 1, 1), most + 1)
    return merge(*sides, key=lambda number: abs(number - value))


def decimal(value: Fraction) -> str:
    """As a person would write it, so that it is read as the same value: 0.75, but 4/7."""
    short = f"{float(value):.6g}"
    return short if Fraction(short) == value else str(value)

"""The integers of a step, planned once, before anything starts.

With B questions a batch, G completions a question and k = G (1 - P) of them kept (paper §3.2-3.3):

                            without allocation        with allocation
    questions a step        B                         B G / k
    rows trained            B k                       B G
    mini-batch rows         ppo_mini_batch_size k     ppo_mini_batch_size G (`mini_batch=completions`)
                                                      ppo_mini_batch_size k (`mini_batch=questions`)
    updates an epoch, of    1                         1 - P (`completions`)
    GRPO's                                            1 (`questions`)

An update is of as many questions as GRPO's, or of as many completions. The mini-batch's row count is the divisor of the
sequence-mean loss, so that the scale of the loss is GRPO's too.

Invariants, re-checked by the tests on every plan: all counts are whole and at least 1;
rows = questions * keep; rows and mini_batch_rows divide by dp_size; mini_batch_rows divides rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from heapq import merge
from itertools import islice
from math import floor, gcd, isqrt

from cppo_verl.algorithm.options import ConfigError, CPPOConfig, MiniBatch, as_written

TRIES = 4096
"""Values of an option that are tried at the most for one that works."""


@dataclass(frozen=True)
class StepPlan:
    """What one training step samples, keeps and trains on."""

    rollout_n: int
    """G: completions sampled a question."""

    keep: int
    """k: completions kept a question."""

    questions: int
    """Questions sampled a step."""

    rows: int
    """Completions trained a step."""

    mini_batch_rows: int
    """Completions an optimiser update; also the divisor of the sequence-mean loss."""

    dp_size: int
    """Data-parallel ranks that share the rows equally."""

    @property
    def sampled(self) -> int:
        """Completions sampled a step (first round)."""
        return self.questions * self.rollout_n

    @property
    def mini_batches(self) -> int:
        """Optimiser updates a step and PPO epoch."""
        return self.rows // self.mini_batch_rows

    @property
    def questions_per_update(self) -> Fraction:
        """Questions whose kept completions fill a mini-batch."""
        return Fraction(self.mini_batch_rows, self.keep)

    def steps_per_epoch(self, num_questions: int) -> int:
        """Whole steps in one pass over `num_questions`; the remainder is dropped, as verl does.

        Raises:
            ConfigError: The data hold fewer questions than one step takes.
        """
        if num_questions < self.questions:
            raise ConfigError(
                f"a step takes {self.questions} questions but the training data hold {num_questions}: "
                "lower cppo.pruning_rate or data.train_batch_size"
            )
        return num_questions // self.questions

    def updates_per_epoch(self, num_questions: int, ppo_epochs: int) -> int:
        """Optimiser updates in one pass over `num_questions`, each step's rows `ppo_epochs` times.

        Raises:
            ConfigError: The data hold fewer questions than one step takes.
        """
        return self.steps_per_epoch(num_questions) * self.mini_batches * ppo_epochs

    def share(self, cycles: int) -> StepPlan:
        """The plan of one of `cycles` equal parts of the step.

        Raises:
            ConfigError: The questions or mini-batches do not split into that many parts.
        """
        if self.questions % cycles or self.mini_batches % cycles:
            raise ConfigError(
                f"trainer.v1.separate_async.parameter_sync_step={cycles} does not split the {self.questions} questions "
                f"and {self.mini_batches} mini-batches of a step; nearest that works: "
                f"{largest_divisor(gcd(self.questions, self.mini_batches), cycles)}"
            )
        return replace(self, questions=self.questions // cycles, rows=self.rows // cycles)

    def trim(self, available: int) -> tuple[int, int]:
        """Rows and mini-batch rows that `available` kept completions allow.

        A full step, or as many rows as equal mini-batches of at most the planned size can have: the planned size
        as often as it goes, or, where that leaves more over, once more and smaller. A mini-batch splits over the
        ranks; (0, 0) where not even one row a rank is left.
        """
        available = min(available, self.rows)
        whole = available // self.mini_batch_rows
        fits = [(number * self._largest_mini_batch(available, number), -number) for number in (whole, whole + 1)]
        rows, fewest = max(fits)
        return rows, rows // -fewest if rows else 0

    def _largest_mini_batch(self, available: int, number: int) -> int:
        """Rows of each of `number` equal mini-batches, at most as planned, that split over the ranks."""
        return min(self.mini_batch_rows, available // max(number, 1) // self.dp_size * self.dp_size)


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


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is at most so large; found in about sqrt(number) tries."""
    small = [d for d in range(1, isqrt(number) + 1) if number % d == 0]
    return max(d for pair in ((d, number // d) for d in small) for d in pair if d <= max(most, 1))


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

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

from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, isqrt

from cppo_verl.algorithm.errors import ConfigError


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


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is at most so large; found in about sqrt(number) tries."""
    small = [d for d in range(1, isqrt(number) + 1) if number % d == 0]
    return max(d for pair in ((d, number // d) for d in small) for d in pair if d <= max(most, 1))

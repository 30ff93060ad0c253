"""What a step on V1 sampled and trained on, cycle by cycle."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from verl import DataProto

from cppo_verl.algorithm.allocation import Allocation
from cppo_verl.algorithm.rejection import LEFT_OUT
from cppo_verl.trainer.rows import together
from cppo_verl.trainer.v1.idle import Span


class Cycle(NamedTuple):
    """What a cycle of a step sampled, and what it trained on. A step has one, but in verl's mode `separate_async`."""

    sampled: DataProto
    trained: DataProto
    allocation: Allocation
    replaced: int
    """Questions that were asked in place of others."""
    counts: dict[str, float]
    """See `forward_metrics`, of the forwards so far, `rejection`, and `update_count`."""

    @staticmethod
    def together(cycles: list[Cycle]) -> Cycle:
        """Those of a step, as one."""
        sampled, trained, allocations, replaced, counts = zip(*cycles, strict=True)
        before = np.cumsum([0, *map(len, sampled)])[:-1]
        rows = torch.cat([taken.rows + first for taken, first in zip(allocations, before, strict=True)])
        surplus = sum(taken.surplus for taken in allocations)
        weights = torch.cat([taken.weights for taken in allocations])
        taken = Allocation(rows, allocations[-1].mini_batch_rows, surplus, weights)
        by_name = {name: [of[name] for of in counts if name in of] for name in dict.fromkeys(chain(*counts))}
        counts = {name: np.mean(of) if "/fill/" in name else sum(of) for name, of in by_name.items()}
        return Cycle(together(sampled), together(trained), taken, sum(replaced), counts)


@dataclass
class RunningStep:
    """A step as far as it has come: all that V1's trainers remember of one, in an object made for each.

    What outlives a step is not here: which questions were asked (`AskedQuestions.asked`), because verl asks some
    before the step that takes them.
    """

    metrics: dict[str, float]
    """verl's, logged at the step's end."""
    began: float = field(default_factory=time.time)
    """Seconds since the epoch."""
    cycles: list[Cycle] = field(default_factory=list)
    """Those whose rows are gathered."""
    waits: list[Span] = field(default_factory=list)
    """When each of them waited for completions."""
    replaced: int = 0
    """Questions asked in the running cycle in place of dropped ones."""
    made_up: int = 0
    """Questions asked in the running cycle in place of failed ones, and of those that got too old."""
    clip_fractions: list[float] = field(default_factory=list)
    """Share of tokens whose ratio was clipped, in each update so far."""
    failed: int = 0
    """Questions whose sampling failed in the running cycle."""

    def begin_cycle(self) -> None:
        """Count anew what is counted by the cycle."""
        self.replaced = self.made_up = self.failed = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Note a wait for completions."""
        started = time.time()
        yield
        self.waits.append((started, time.time()))

    @property
    def has_updated(self) -> bool:
        """Whether a cycle so far had something to train on that was not all rejected."""
        return any(len(cycle.trained) and not cycle.counts.get(LEFT_OUT) for cycle in self.cycles)

    @property
    def asked_instead(self) -> int:
        """Questions asked in the running cycle in place of others."""
        return self.replaced + self.made_up

    @property
    def cycles_trained(self) -> int:
        """Cycles so far that had something to train on."""
        return sum(len(cycle.trained) > 0 for cycle in self.cycles)

    @cached_property
    def whole(self) -> Cycle:
        """All cycles as one; to be read when they are over."""
        return Cycle.together(self.cycles)

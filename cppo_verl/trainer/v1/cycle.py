"""What a step on V1 sampled and trained on, cycle by cycle."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from verl import DataProto

from cppo_verl.algorithm.allocation import Allocation


class Cycle(NamedTuple):
    """What a cycle of a step sampled, and what it trained on. A step has one, but in verl's mode `separate_async`."""

    sampled: DataProto
    trained: DataProto
    allocation: Allocation
    replaced: int
    """Questions that were asked in place of others."""
    padding: dict[str, int]
    """See `padding_metrics`."""

    @staticmethod
    def together(cycles: list[Cycle]) -> Cycle:
        """Those of a step, as one."""
        sampled, trained, allocations, replaced, padding = zip(*cycles, strict=True)
        before = np.cumsum([0, *map(len, sampled)])[:-1]
        rows = torch.cat([taken.rows + first for taken, first in zip(allocations, before, strict=True)])
        surplus = sum(taken.surplus for taken in allocations)
        taken = Allocation(rows, allocations[-1].mini_batch_rows, surplus)
        by_name = {name: [of[name] for of in padding if name in of] for name in {**padding[0], **padding[-1]}}
        padding = {name: np.mean(of) if "/fill/" in name else sum(of) for name, of in by_name.items()}
        return Cycle(DataProto.concat(sampled), DataProto.concat(trained), taken, sum(replaced), padding)

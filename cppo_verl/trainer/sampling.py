"""The loop of both generations of trainers over a step's questions (paper Algorithm 1 and §3.3)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from verl import DataProto

from cppo_verl.algorithm.allocation import Allocation, Allocator
from cppo_verl.algorithm.metrics import Outcomes, step_metrics
from cppo_verl.trainer.rows import SENT, row_advantages, sampled_rows, together


def sample_and_prune(
    allocator: Allocator,
    wanted: Callable[[], int],
    sample: Callable[[int], DataProto | None],
    settle: Callable[[DataProto, torch.Tensor], None] = lambda rows, kept: None,
    timed: Callable[[], AbstractContextManager] = nullcontext,
    finish: Callable[[DataProto], None] = lambda sampled: None,
) -> tuple[DataProto, Allocation]:
    """Sample, score and prune round after round until the step's rows are full.

    Rows are conserved: all that was sampled is returned, in the order of the rounds, and of each question exactly k
    or, with `cppo.zero_variance=drop`, none are kept.

    Args:
        allocator: A new one, with the step's plan.
        wanted: Questions that the next round may take; 0 ends the step.
        sample: Gives the scored completions of at most so many questions: columns `uid`, `row_id`, and `advantages`
            unless a critic gives them later; None where there are no questions left.
        settle: Called with the rows of each round and which of them are kept, ascending, LongTensor.
        timed: Entered while rows are pruned, and put together.
        finish: Called with all rows that were sampled, when they were pruned: changes their advantages in place.

    Returns:
        All rows that were sampled, and what of them is trained on.
    """
    rounds = []
    while (number := wanted()) and (rows := sample(number)) is not None:
        with timed():
            advantages = row_advantages(rows) if "advantages" in rows.batch else torch.zeros(len(rows))
            kept = allocator.add(advantages, rows.non_tensor_batch["uid"], rows.non_tensor_batch["row_id"])
        settle(rows, kept)
        rounds.append(rows)
    with timed():
        sampled = together(rounds)
        finish(sampled)
        return sampled, allocator.take()


def sampling_metrics(
    sampled: DataProto, allocation: Allocation, rounds: int, outcomes: Outcomes | None = None
) -> dict[str, float]:
    """What `step_metrics` says of all completions of a step, and of what is trained on of them."""
    counted = {"rounds": rounds, "surplus": allocation.surplus, "outcomes": outcomes}
    metrics = step_metrics(sampled_rows(sampled), allocation.rows, **counted)
    sent = sampled.non_tensor_batch.get(SENT)
    known = sent is not None and np.isfinite(sent).all()
    return metrics | ({"cppo/bytes_sent": sent.sum().item()} if known else {})

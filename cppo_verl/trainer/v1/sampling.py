"""The first half of a V1 step: questions are pruned as they are finished, while others are being sampled."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import transfer_queue as tq
from verl import DataProto

from cppo_verl.algorithm.allocation import Allocation, Allocator
from cppo_verl.trainer.batch_advantages import finish_advantages
from cppo_verl.trainer.sampling import sample_and_prune
from cppo_verl.trainer.stages import outcome_advantages
from cppo_verl.trainer.v1.asking import AskedQuestions
from cppo_verl.trainer.v1.queue import TRAIN, Taken
from cppo_verl.trainer.v1.rows import read_taken, read_texts


class PrunedSampling(AskedQuestions):
    """A part of CPPO's V1 trainers: takes finished questions from the queue, and leaves only kept completions in it."""

    def _sample_and_prune(self, metrics: dict) -> tuple[DataProto, Allocation]:
        """Take questions as they are finished, and prune each, until the cycle's rows are full."""
        self.this_step.begin_cycle()
        allocator = Allocator(self.cycle_plan, self.cppo)
        take = partial(self._take, metrics)
        finish = partial(finish_advantages, config=self.config)
        sampled, allocation = sample_and_prune(
            allocator, allocator.questions_to_take, take, self._settle, finish=finish
        )
        self._delete(sampled.non_tensor_batch["key"][np.setdiff1d(allocator.kept, allocation.rows)])
        return sampled, allocation

    def _take(self, metrics: dict, wanted: int) -> DataProto | None:
        """Wait for a finished question, or for all that are wanted where their completions compete with one another.

        Args:
            metrics: Of the cycle; verl's, of questions that were deleted meanwhile, are added.
            wanted: Questions at the most.

        Returns:
            Their completions with rewards and advantages; None where no question is asked.
        """
        at_least = wanted if self.cppo.scope == "batch" else 1
        taken = self.replay_buffer.take(self.global_steps, wanted, at_least, metrics)
        return None if taken is None else self._advantages(taken)

    def _settle(self, rows: DataProto, kept: torch.Tensor) -> None:
        """Delete what is pruned, and ask for a question for each that is left out."""
        ids = rows.non_tensor_batch
        self._delete(np.delete(ids["key"], kept.numpy()))
        self._replace(len(set(ids["uid"])) - len(kept) // self.plan.keep)

    def _advantages(self, taken: Taken) -> DataProto:
        """A over all G completions of a question (paper Eq. 2)."""
        rollout = self.config.actor_rollout_ref.rollout
        rows = read_taken(taken, rollout.prompt_length, rollout.response_length)
        if self.config.trainer.rollout_data_dir:
            rows.non_tensor_batch |= read_texts(taken.completions, self.tokenizer)
        return outcome_advantages(rows, self.config)

    def _delete(self, keys: np.ndarray) -> None:
        """Completions that are not trained on leave the queue; those that never were in it have no key."""
        if there := [key for key in keys if key is not None]:
            tq.kv_clear(keys=there, partition_id=TRAIN)

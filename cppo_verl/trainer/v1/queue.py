"""The questions that are being sampled, in verl's TransferQueue."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import transfer_queue as tq
from omegaconf import DictConfig
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBufferAsync, _accumulate_eviction_metrics

from cppo_verl.trainer.group.scored import SCORED

TRAIN = "train"
VALIDATION = "val"
"""verl's names for the parts of the queue that hold training and validation questions."""
RULE = "pruning_rule"
"""Column of a question that agent loops are given, where they are to prune it, and then its tag: the rule."""
BYTES = "bytes"
"""Tag of a completion that came in its question's one put: the size of its tensors."""
ERROR = "error"
"""Tag of a question: why one of its completions could not be made, where our agent loop is used."""


class Taken(NamedTuple):
    """Finished questions that were taken from the queue."""

    completions: KVBatchMeta
    """Those that are in the queue."""
    scored: dict[str, dict[str, Any]]
    """By question, where it was pruned already: `ScoredGroup.told`."""
    questions: list[str]
    """All, in order."""


class QuestionQueue(ReplayBufferAsync):
    """verl's replay buffer, from which questions are taken as they are finished instead of a batch at a time.

    A question is finished when its G completions are scored. One whose sampling failed is deleted and replaced, in
    every trainer mode, and so is one that spans more than `max_off_policy_threshold` steps, its own included, unless
    `max_off_policy_strategy=wait` lets none get there; verl's metrics count them.

    Args:
        config: The run's.
        replace: Asks for as many further questions.
        on_failure: Called with what went wrong in the sampling of each failed question, and whether they are for
            training.
    """

    def __init__(
        self,
        config: DictConfig,
        trainer_mode: str,
        replace: Callable[[int], None],
        on_failure: Callable[[list[str], bool], None],
    ):
        sampler = config.trainer.v1.sampler
        super().__init__(
            trainer_mode=trainer_mode,
            trainer_config=config.trainer.v1.get(trainer_mode, {}),
            max_off_policy_threshold=sampler.max_off_policy_threshold,
            max_off_policy_strategy=sampler.max_off_policy_strategy,
            sampler_kwargs=sampler.sampler_kwargs,
            poll_interval=sampler.sampler_kwargs.get("poll_interval", 0.5),
            refill_fn=replace,
        )
        self.on_failure, self.rollout_n = on_failure, config.actor_rollout_ref.rollout.n

    def take(self, step: int, wanted: int, at_least: int, metrics: dict[str, float]) -> Taken | None:
        """Wait until `at_least` questions are finished, or all that are asked, and take up to `wanted`, oldest first.

        Args:
            step: The running one.
            wanted: Questions at the most.
            at_least: Questions at the least.
            metrics: Of the step; verl's, of what was deleted meanwhile, are added.

        Returns:
            The questions; None where none is asked.

        Raises:
            ValueError: A question has another number of completions than G.
        """
        said = time.time()
        while True:
            self._sync_metadata_from_transfer_queue()
            reasons = self._terminal_eviction_reasons(step, TRAIN)
            deleted, stale, _, of_deleted = self._evict_terminal_groups(step, TRAIN, reasons)
            if deleted:
                _accumulate_eviction_metrics(metrics, of_deleted, stale)
                self.refill_fn(len(deleted))
                continue
            asked_for, finished = len(self.prompt_global_steps[TRAIN]), self._sampleable_terminal_keys(TRAIN, reasons)
            if not asked_for:
                return None
            if self._has_enough_samples(step, TRAIN, min(at_least, asked_for), finished):
                break
            said = self._wait_for_next_poll(TRAIN, said)
        questions, completions, _ = self._select_prompt_uids(TRAIN, finished, wanted)
        tags = tq.kv_list(TRAIN)[TRAIN]
        scored = {uid: tags[uid][SCORED] for uid in questions if tags[uid].get(SCORED)}
        batch = self._materialize_batch(TRAIN, questions, completions)
        self._check_groups([uid for uid in questions if uid not in scored], batch.keys)
        return Taken(batch, scored, questions)

    def _check_groups(self, questions: list[str], keys: list[str]) -> None:
        completions = Counter(key.split("_")[0] for key in {key.rpartition("_")[0] for key in keys})
        if wrong := {uid: completions[uid] for uid in questions if completions[uid] != self.rollout_n}:
            uid, found = next(iter(wrong.items()))
            raise ValueError(
                f"question {uid} has {found} completions, not G = {self.rollout_n} (actor_rollout_ref.rollout.n)"
                + (f", and so have {len(wrong) - 1} more" if len(wrong) > 1 else "")
                + ": the agent loop returned nothing for some, or the data have a column __rollout_n__"
            )

    def outstanding(self) -> tuple[int, int]:
        """Questions that are being sampled, or were in vain and will be replaced, and finished ones not yet taken."""
        self._sync_metadata_from_transfer_queue()
        in_flight = self.pending_keys[TRAIN] | self.running_keys[TRAIN] | self.failure_keys[TRAIN]
        return len(in_flight), len(self.finished_keys[TRAIN])

    def _select_prompt_uids(self, partition_id: str, sampleable_keys: set[str], batch_size: int) -> tuple:
        """verl's choice, the oldest, with questions of one step in the order in which they were asked."""
        uids, *rest = super()._select_prompt_uids(partition_id, sampleable_keys, len(sampleable_keys))
        if partition_id == TRAIN:
            uids = sorted(uids, key=asked)
        return uids[:batch_size], *rest

    def _evict_terminal_groups(self, global_steps: int, partition_id: str, eviction_reasons: tuple) -> tuple:
        if failed := self.failure_keys[partition_id]:
            tags = tq.kv_list(partition_id)[partition_id]
            errors = [tags.get(uid, {}).get(ERROR, "see the log above") for uid in sorted(failed)]
            self.on_failure(errors, partition_id == TRAIN)
        return super()._evict_terminal_groups(global_steps, partition_id, eviction_reasons)


def completion_key(uid: str, sample: int) -> str:
    """verl's, of a completion's only output."""
    return f"{uid}_{sample}_0"


def asked(uid: str) -> tuple[int, int]:
    """When a question was asked: step and position in the step, from its `uid` (`step:position`)."""
    step, position = uid.split(":")
    return int(step), int(position)

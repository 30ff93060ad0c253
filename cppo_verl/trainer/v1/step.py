"""CPPO's step over verl's V1 trainers, which keep completions in a TransferQueue."""

from __future__ import annotations

import time

import transfer_queue as tq
from transfer_queue import KVBatchMeta
from verl import DataProto
from verl.single_controller.base import WorkerGroup
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_add_to_batch
from verl.utils.debug import marked_timer
from verl.utils.metric import reduce_metrics

from cppo_verl.algorithm.allocation import Allocation
from cppo_verl.algorithm.metrics import UPDATES
from cppo_verl.algorithm.rejection import LEFT_OUT
from cppo_verl.trainer.old_policy import corrects_rollout, has_old_forward, unread_log_probs
from cppo_verl.trainer.padding import forward_metrics
from cppo_verl.trainer.rejected import rejection
from cppo_verl.trainer.rows import PICTURES, check_sent, select_rows, weigh_advantages
from cppo_verl.trainer.stages import actor_metrics, clip_fractions, update_count, update_settings
from cppo_verl.trainer.v1.cycle import Cycle, RunningStep
from cppo_verl.trainer.v1.metrics import StepMetrics
from cppo_verl.trainer.v1.queue import TRAIN
from cppo_verl.trainer.v1.rows import (
    FORWARDS_READ,
    UPDATES_READ,
    columns_there,
    in_order,
    nothing_to_delete,
    write_columns,
)
from cppo_verl.trainer.v1.sampling import PrunedSampling


class CPPOStep(PrunedSampling, StepMetrics):
    """A part of CPPO's V1 trainers: a step.

    Overridden are which questions a step takes and what is trained on of them, the size of the mini-batch, and which
    rows the metrics describe. When engine and trainer take turns, how stale a completion may get, and what a
    checkpoint holds, is verl's.
    """

    def step(self, metrics: dict, timing_raw: dict) -> KVBatchMeta:
        """verl's step, of one cycle or several, and the metrics of all that it sampled, with the times so far: what
        its checkpoint notes of it."""
        self.this_step = RunningStep(metrics)
        batch = super().step(metrics, timing_raw)
        metrics |= self._sampled_metrics()
        metrics |= self._timing_metrics(timing_raw | {"step": time.time() - self.this_step.began})
        return batch if batch.keys else nothing_to_delete()

    def _step_once(self, metrics: dict, timing_raw: dict, sample_batch_size: int) -> KVBatchMeta:
        """One step of CPPO (paper Algorithm 1 and §3.3), or one of its cycles."""
        # verl samples the old log-probs of all cycles from the weights that it keeps at the first that trains.
        self.local_trigger_step = self.this_step.cycles_trained
        with self.this_step.waiting(), marked_timer("gen", timing_raw, color="red"):
            self.on_sample_begin()
            sampled, allocation = self._sample_and_prune(metrics)
            self.on_sample_end()
        with marked_timer("gather", timing_raw):
            batch = self._gather(sampled, allocation, metrics)
        if len(batch.keys):
            with marked_timer("old_log_prob" if has_old_forward(self.config) else "gather", timing_raw, color="blue"):
                batch = self._compute_old_log_prob(batch, metrics)
                batch = self._correct_rollout_mismatch(batch, metrics)
        if len(batch.keys) and not self.this_step.cycles[-1].counts.get(LEFT_OUT):
            if self.use_reference_policy:
                with marked_timer("ref", timing_raw, color="olive"):
                    batch = self._compute_ref_log_prob(batch, metrics)
            with marked_timer("update_actor", timing_raw, color="red"):
                batch = self._update_actor(batch, metrics)
        return batch

    # --- the stages of the step, in order; the sampling is `PrunedSampling`'s, what is not here verl's ---

    def _gather(self, sampled: DataProto, allocation: Allocation, metrics: dict) -> KVBatchMeta:
        """The rows to train on, balanced over the ranks; the cycle is noted with them."""
        rows = in_order(sampled, allocation.rows)
        trained = select_rows(sampled, rows)
        weigh_advantages(trained, allocation.weights_of(rows))
        ids = trained.non_tensor_batch
        check_sent(trained, ids["key"])
        batch = KVBatchMeta(partition_id=TRAIN, keys=ids["key"].tolist(), tags=ids["tag"].tolist())
        if batch.keys:
            write_columns(batch, trained, "advantages", "returns")
            if self.config.trainer.balance_batch:
                batch = self._balance_batch(batch, metrics)
        batch.extra_info["temperature"] = self.config.actor_rollout_ref.rollout.temperature
        counts = {UPDATES: 0}
        self.this_step.cycles.append(Cycle(sampled, trained, allocation, self.this_step.asked_instead, counts))
        return batch

    def _get_required_batch_multiple(self, dp_size: int) -> int:
        """1: the planned rows split over ranks and mini-batches, so that verl adds no rows of padding."""
        return 1

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """verl's, or places for the old log-probs that the loss does not read (see `first_pass`)."""
        if not self.cppo.skip_old_log_prob:
            batch.fields = self._columns(batch, FORWARDS_READ)
            computed = self._old_forward(batch, metrics)
            self._count("old", self.actor_rollout_wg)
            return computed
        places = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=["advantages"])
        places["old_log_probs"] = unread_log_probs(places.pop("advantages"))
        tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=places)
        return batch

    def _old_forward(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        return super()._compute_old_log_prob(batch, metrics)

    def _correct_rollout_mismatch(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """verl's decoupled rollout correction on the kept rows, where there are the rollout's log-probs."""
        if not corrects_rollout(self.config):
            return batch
        fields = ["response_mask", "rollout_log_probs", "old_log_probs"]
        ragged = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
        if "rollout_log_probs" in ragged:
            rows = DataProto(batch=ragged.to_padded_tensor())
            before, correction = rows.batch["response_mask"], self.config.algorithm.rollout_correction
            rows, corrected = compute_rollout_correction_and_add_to_batch(rows, correction)
            metrics |= corrected
            # verl 0.9.1 leaves the mask alone by which its engines count the tokens of a mini-batch.
            after = rows.batch["loss_mask"] = rows.batch["response_mask"]
            written = ("response_mask", "loss_mask", "rollout_is_weights")
            write_columns(batch, rows, *(name for name in written if name in rows.batch))
            cycle = self.this_step.cycles[-1]
            mini_batch_rows, ranks = cycle.allocation.mini_batch_rows, self.cycle_plan.dp_size
            cycle.counts.update(rejection(before, after, mini_batch_rows, ranks, self.config))
        return batch

    def _compute_ref_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        batch.fields = self._columns(batch, FORWARDS_READ)
        computed = super()._compute_ref_log_prob(batch, metrics)
        self._count("ref", self.ref_policy_wg)
        return computed

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """verl 0.9.1's with the planned mini-batch, of which it has no seam (see V0's `_update_actor`)."""
        batch.fields = self._columns(batch, UPDATES_READ)
        cycle = self.this_step.cycles[-1]
        mini_batch_rows = cycle.allocation.mini_batch_rows
        batch.extra_info.update(update_settings(self.config, mini_batch_rows))
        reported = self.actor_rollout_wg.update_actor(batch)["metrics"]
        of_update = actor_metrics(reported, self.config)
        self.this_step.clip_fractions += clip_fractions(of_update)
        metrics |= reduce_metrics(of_update)
        cycle.counts.update(update_count(len(cycle.trained), mini_batch_rows, self.config))
        self._count("update", self.actor_rollout_wg)
        return batch

    def _columns(self, batch: KVBatchMeta, read: frozenset[str]) -> list[str]:
        return columns_there(batch, read | {PICTURES} if self.processor else read)

    def _count(self, name: str, workers: WorkerGroup) -> None:
        """Note the padding of the cycle's forwards of this name, which are over."""
        cycle = self.this_step.cycles[-1]
        tokens = cycle.trained.batch["attention_mask"].sum().item()
        cycle.counts.update(forward_metrics(name, workers, tokens, self.config))

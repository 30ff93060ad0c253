"""CPPO's step over verl's V1 trainers, which keep completions in a TransferQueue."""

from __future__ import annotations

import time
from dataclasses import asdict

import numpy as np
import ray
import torch
import transfer_queue as tq
from omegaconf import DictConfig, open_dict
from transfer_queue import KVBatchMeta
from verl import DataProto
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_add_to_batch
from verl.utils.debug import marked_timer
from verl.utils.metric import reduce_metrics
from verl.utils.py_functional import rename_dict
from verl.workers.rollout.llm_server import LLMServerClient

from cppo_verl.algorithm.allocation import Allocation, Allocator
from cppo_verl.algorithm.metrics import step_metrics
from cppo_verl.algorithm.options import ConfigError, CPPOConfig
from cppo_verl.cpu.platform import chosen as on_cpu
from cppo_verl.preflight.plan import cycle_from_config, is_separate, micro_batch_faults, plan_from_config
from cppo_verl.preflight.refusals import refusals, resume_refusals
from cppo_verl.trainer.first_pass import choose_loss
from cppo_verl.trainer.padding import padding_metrics
from cppo_verl.trainer.rows import row_advantages, sampled_rows
from cppo_verl.trainer.stages import data_metrics, outcome_advantages, timing_metrics, update_settings
from cppo_verl.trainer.v1.asking import AskedQuestions
from cppo_verl.trainer.v1.cycle import Cycle
from cppo_verl.trainer.v1.idle import MeteredAsyncClient, MeteredClient, Span, overlap
from cppo_verl.trainer.v1.queue import TRAIN
from cppo_verl.trainer.v1.rows import in_order, nothing_to_delete, read_scored, read_texts, write_columns
from cppo_verl.trainer.watchdog import run_watched
from cppo_verl.trainer.watched import WatchedRun

MANAGER = "cppo_verl.trainer.v1.agent_loop.CPPOAgentLoopManagerTQ"
"""verl's agent loops with ours, where the config names no manager."""


class CPPOStep(WatchedRun, AskedQuestions):
    """A mixin over verl's V1 trainers: questions are pruned as they are finished, while others are being sampled.

    Overridden are which questions a step takes and what is trained on of them, the size of the mini-batch, and which
    rows the metrics describe. When engine and trainer take turns, how stale a completion may get, and what a
    checkpoint holds, is verl's.
    """

    cpu_worker = "CPUActorRolloutRefWorker"
    """Of `cppo_verl.cpu.worker`: verl's worker in this mode, on the CPU."""

    def __init__(self, config: DictConfig):
        self.cppo = CPPOConfig.from_mapping(config.get("cppo"))
        with open_dict(config):  # what verl's own `main_ppo` does not bring
            config.cppo = asdict(self.cppo)
            agent = config.actor_rollout_ref.rollout.agent
            agent.agent_loop_manager_class = agent.get("agent_loop_manager_class") or MANAGER
        if faults := [*refusals(config), *resume_refusals(config)]:
            raise ConfigError(*faults)
        self.plan, self.cycle_plan = plan_from_config(config), cycle_from_config(config)
        if faults := list(micro_batch_faults(config, self.cycle_plan)):
            raise ConfigError(*faults)
        choose_loss(config)
        self.cycles: list[Cycle] = []
        """Of the running step, so far."""
        self.waits: list[Span] = []
        """When each of them waited for completions."""
        self.metrics: dict[str, float] = {}
        self._open_run_folder(config)
        super().__init__(config)

    @property
    def trainer_mode(self) -> str:
        """verl's name of the mode, by which it looks up its options: without our `cppo_`."""
        return self._trainer_mode

    @trainer_mode.setter
    def trainer_mode(self, name: str) -> None:
        self._trainer_mode = name.removeprefix("cppo_")

    def get_llm_client(self) -> LLMServerClient:
        """verl's, with a meter of when the engines have something to sample."""
        engines = self._rollout_server_managers()[-1]  # those of their own, where there are
        return engines.get_client(client_cls=MeteredClient if self.trainer_mode == "sync" else MeteredAsyncClient)

    def fit(self, agent_loop_manager) -> None:
        """Train, watching over the rollout engines.

        Raises:
            RolloutEngineDied: An engine died; without the watch verl waits for it for ever.
        """
        replicas = [replica for manager in self._rollout_server_managers() for replica in manager.get_replicas()]
        run_watched(lambda: super(CPPOStep, self).fit(agent_loop_manager), replicas)

    def step(self, metrics: dict, timing_raw: dict) -> KVBatchMeta:
        """verl's step, and the metrics of all that it sampled."""
        self.metrics, self.cycles, self.waits, self.began = metrics, [], [], time.time()
        batch = super().step(metrics, timing_raw)
        self.whole = Cycle.together(self.cycles)
        in_flight, unused = self.replay_buffer.outstanding()
        metrics |= {
            "training/global_step": self.global_steps,
            "cppo/planned_steps": self.total_training_steps,
            "cppo/last_step": int(self.global_steps >= self.total_training_steps),
            "cppo/replaced_questions": self.whole.replaced,
            "cppo/in_flight_questions": in_flight,
            "cppo/unused_questions": unused,
        }
        metrics |= self.whole.padding
        sampled, taken = self.whole.sampled, self.whole.allocation
        metrics |= step_metrics(sampled_rows(sampled), taken.rows, rounds=1, surplus=taken.surplus)
        metrics |= data_metrics(sampled, self.whole.trained, metrics.get("actor/grad_norm"))
        return batch if batch.keys else nothing_to_delete()

    def _step_once(self, metrics: dict, timing_raw: dict, sample_batch_size: int) -> KVBatchMeta:
        """One step of CPPO (paper Algorithm 1 and §3.3), or one of its cycles."""
        # verl samples the old log-probs of all cycles from the weights that it keeps at the first that trains.
        self.local_trigger_step = sum(len(cycle.trained) > 0 for cycle in self.cycles)
        started = time.time()
        with marked_timer("gen", timing_raw, color="red"):
            self.on_sample_begin()
            sampled, allocation = self._sample_and_prune(metrics)
            self.on_sample_end()
        self.waits.append((started, time.time()))
        with marked_timer("gather", timing_raw):
            trained = sampled.select_idxs(in_order(sampled, allocation.rows))
            batch = self._gather(trained, metrics)
            lengths = torch.tensor([tag["seq_len"] for tag in batch.tags])
            padding = padding_metrics(lengths, allocation.mini_batch_rows, self.plan.dp_size, self.config)
        self.cycles.append(Cycle(sampled, trained, allocation, self.replaced, padding))
        if len(batch.keys):
            with marked_timer("old_log_prob" if self._has_old_forward() else "gather", timing_raw, color="blue"):
                batch = self._compute_old_log_prob(batch, metrics)
                batch = self._correct_rollout_mismatch(batch, metrics)
            if self.use_reference_policy:
                with marked_timer("ref", timing_raw, color="olive"):
                    batch = self._compute_ref_log_prob(batch, metrics)
            with marked_timer("update_actor", timing_raw, color="red"):
                batch = self._update_actor(batch, metrics)
        return batch

    # --- the stages of the step, in order ---

    def _sample_and_prune(self, metrics: dict) -> tuple[DataProto, Allocation]:
        """Take questions as they are finished, and prune each, until the step's rows are full."""
        allocator, rounds, self.replaced, self.failed = Allocator(self.cycle_plan, self.cppo), [], 0, 0
        together = self.cppo.scope == "batch"
        most = self.cycle_plan.questions * self.cppo.max_gen_rounds
        while wanted := min(allocator.questions_missing(), most - allocator.sampled // self.plan.rollout_n):
            completions = self.replay_buffer.take(self.global_steps, wanted, wanted if together else 1, metrics)
            if completions is None:
                break
            rows = self._advantages(completions)
            ids = rows.non_tensor_batch
            kept = allocator.add(row_advantages(rows), ids["uid"], ids["row_id"])
            self._delete(np.delete(ids["key"], kept.numpy()))
            self._replace(len(set(ids["uid"])) - len(kept) // self.plan.keep)
            rounds.append(rows)
        sampled, allocation = DataProto.concat(rounds), allocator.take()
        self._delete(sampled.non_tensor_batch["key"][np.setdiff1d(allocator.kept, allocation.rows)])
        return sampled, allocation

    def _advantages(self, completions: KVBatchMeta) -> DataProto:
        """A over all G completions of a question (paper Eq. 2), never renormalised after the pruning."""
        rollout = self.config.actor_rollout_ref.rollout
        rows = read_scored(completions, rollout.prompt_length, rollout.response_length)
        if self.config.trainer.rollout_data_dir:
            rows.non_tensor_batch |= read_texts(completions, self.tokenizer)
        return outcome_advantages(rows, self.config)

    def _gather(self, trained: DataProto, metrics: dict) -> KVBatchMeta:
        """The rows to train on, balanced over the ranks."""
        ids = trained.non_tensor_batch
        batch = KVBatchMeta(partition_id=TRAIN, keys=ids["key"].tolist(), tags=ids["tag"].tolist())
        if batch.keys:
            write_columns(batch, trained, "advantages", "returns")
            if self.config.trainer.balance_batch:
                batch = self._balance_batch(batch, metrics)
        batch.extra_info["temperature"] = self.config.actor_rollout_ref.rollout.temperature
        return batch

    def _get_required_batch_multiple(self, dp_size: int) -> int:
        """1: the planned rows split over ranks and mini-batches, so that verl adds no rows of padding."""
        return 1

    def _has_old_forward(self) -> bool:
        """Whether the old log-probs are computed, not copied or left out."""
        correction = self.config.algorithm.get("rollout_correction")
        return not (self.cppo.skip_old_log_prob or (correction and correction.get("bypass_mode")))

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """verl's, or places for the old log-probs that the loss does not read (see `first_pass`)."""
        if not self.cppo.skip_old_log_prob:
            return super()._compute_old_log_prob(batch, metrics)
        places = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=["advantages"])
        places["old_log_probs"] = places.pop("advantages") * torch.nan
        tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=places)
        return batch

    def _correct_rollout_mismatch(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """verl's decoupled rollout correction on the kept rows.

        verl 0.9.1 does it inside `_compute_advantage`, which here comes before the old log-probs.
        """
        correction = self.config.algorithm.get("rollout_correction")
        if correction is None or correction.get("bypass_mode") or self.cppo.skip_old_log_prob:
            return batch
        fields = ["response_mask", "rollout_log_probs", "old_log_probs"]
        ragged = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
        if "rollout_log_probs" not in ragged:
            return batch
        rows, corrected = compute_rollout_correction_and_add_to_batch(
            DataProto(batch=ragged.to_padded_tensor()), correction
        )
        metrics |= corrected
        written = [name for name in ("response_mask", "rollout_is_weights") if name in rows.batch]
        write_columns(batch, rows, *written)
        return batch

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """verl 0.9.1's with the planned mini-batch, of which it has no seam (see `RayCPPOTrainer._update_actor`)."""
        batch.fields = None  # all there are: verl's list is of before the reference's were put
        batch.extra_info.update(update_settings(self.config, self.cycles[-1].allocation.mini_batch_rows))
        output = rename_dict(self.actor_rollout_wg.update_actor(batch)["metrics"], "actor/")
        output["perf/mfu/actor"] = output.pop("actor/mfu")
        metrics |= self._updates_clipped(output["actor/grad_norm"]) | reduce_metrics(output)
        return batch

    def _delete(self, keys: np.ndarray) -> None:
        """Completions that are not trained on leave the queue."""
        if len(keys):
            tq.kv_clear(keys=list(keys), partition_id=TRAIN)

    # --- metrics ---

    def _compute_metrics(self, batch: KVBatchMeta, metrics, timing_raw, global_steps, epoch) -> None:
        """verl's; the curves describe what was sampled, so that GRPO's and CPPO's can be compared."""
        metrics |= self._idle_metrics(timing_raw["step"])
        timing_raw["step"] -= timing_raw.get("save_checkpoint", 0)  # as in V0: a step is sampling and training
        sampled, trained = self.whole.sampled, self.whole.trained
        ours = dict(metrics)  # of all that was sampled; verl's of the same names are of what was trained on
        if len(trained):
            super()._compute_metrics(batch, metrics, timing_raw, global_steps, epoch)
        devices = self._get_n_gpus_for_throughput()
        metrics |= ours | timing_metrics(sampled, trained, timing_raw, devices)

    def _idle_metrics(self, seconds: float) -> dict[str, float]:
        """Shares of a step, with its checkpoint, in which the trainer waits for completions, and none is sampled."""
        idle = {"cppo/idle/trainer": overlap(self.waits, self.waits) / seconds}
        spans = self._sampling_spans()
        if spans is not None:
            awake = [(self.began, self.began + seconds)] if is_separate(self.config) else self.waits
            idle["cppo/idle/engine"] = 1 - overlap(spans, awake) / seconds
        return idle

    def _log_rollout_data(self, batch: KVBatchMeta, timing_raw: dict, rollout_data_dir: str) -> None:
        """All that was sampled, as in V0; verl's would dump what is left in the queue."""
        with marked_timer("dump_rollout_generations", timing_raw, color="green"):
            sampled = self.whole.sampled
            sampled = sampled.select_idxs(in_order(sampled, torch.arange(len(sampled))))
            told = {k: v.tolist() for k, v in sampled.non_tensor_batch.items() if k not in ("key", "tag", "uid")}
            self._dump_generations(
                inputs=told.pop("input"),
                outputs=told.pop("output"),
                gts=told.pop("gts"),
                scores=sampled.batch["token_level_scores"].sum(dim=1).tolist(),
                reward_extra_infos_dict=told,
                dump_path=rollout_data_dir,
            )

    # --- start-up and resume ---

    def _load_checkpoint(self) -> None:
        """As verl, without the completions that the step of the checkpoint had trained on."""
        super()._load_checkpoint()
        held = (tq.kv_list(TRAIN) or {}).get(TRAIN, {})
        questions = {key for key, tag in held.items() if tag.get("is_prompt")}
        self._delete(np.array([key for key in held if key.split("_")[0] not in questions]))

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()
        if on_cpu():
            from cppo_verl.cpu import worker

            cpu_worker = ray.remote(getattr(worker, self.cpu_worker))
            self.role_worker_mapping = dict.fromkeys(self.role_worker_mapping, cpu_worker)

    def on_validate_begin(self) -> None:
        """verl's first call after its logger is there, where it validates before training."""
        self._continue_log()
        super().on_validate_begin()

    def on_train_begin(self) -> None:
        """verl's first call after its logger is there, where it does not."""
        self._continue_log()
        super().on_train_begin()

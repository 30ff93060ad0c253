"""CPPO's step over verl's V1 trainers, which keep completions in a TransferQueue."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import ray
import torch
import transfer_queue as tq
from omegaconf import DictConfig, open_dict
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl import DataProto
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_add_to_batch
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils import tensordict_utils as tu
from verl.utils.debug import marked_timer
from verl.utils.metric import reduce_metrics
from verl.utils.py_functional import rename_dict

from cppo_verl.allocation import Allocation, Allocator
from cppo_verl.config import ConfigError, CPPOConfig
from cppo_verl.cpu.platform import chosen as on_cpu
from cppo_verl.metrics import step_metrics
from cppo_verl.trainer.agent_loop import RewardHung
from cppo_verl.trainer.checks import micro_batch_faults, plan_from_config, refusals, resume_refusals
from cppo_verl.trainer.padding import padding_metrics
from cppo_verl.trainer.questions import QuestionStream
from cppo_verl.trainer.rows import row_advantages, sampled_rows
from cppo_verl.trainer.run_folder import RunFolder
from cppo_verl.trainer.stages import data_metrics, outcome_advantages, timing_metrics, update_settings
from cppo_verl.trainer.v1.queue import TRAIN, QuestionQueue
from cppo_verl.trainer.v1.rows import in_order, nothing_to_delete, read_scored, read_texts, write_advantages
from cppo_verl.trainer.watchdog import run_watched

MANAGER = "cppo_verl.trainer.v1.agent_loop.CPPOAgentLoopManagerTQ"


class SamplingFailed(RuntimeError):
    """More questions failed to be sampled in a step than the step takes."""


class CPPOStep(RunFolder, PPOTrainer):
    """A mixin over verl's V1 trainers: questions are pruned as they are finished, while others are being sampled.

    Overridden are which questions a step takes and what is trained on of them, the size of the mini-batch, and which
    rows the metrics describe. When engine and trainer take turns, how stale a completion may get, and what a
    checkpoint holds, is verl's.
    """

    def __init__(self, config: DictConfig):
        self.cppo = CPPOConfig.from_mapping(config.get("cppo"))
        with open_dict(config):  # what verl's own `main_ppo` does not bring
            config.cppo = asdict(self.cppo)
            agent = config.actor_rollout_ref.rollout.agent
            agent.agent_loop_manager_class = agent.get("agent_loop_manager_class") or MANAGER
        self.plan = plan_from_config(config)
        if faults := [*refusals(config), *micro_batch_faults(config, self.plan), *resume_refusals(config)]:
            raise ConfigError(*faults)
        self.asked: tuple[int, int] = (0, 0)
        """A step, and the questions that were asked in it."""
        self.replaced = self.failed = 0
        """Questions asked in the running step in place of others, and those whose sampling failed in it."""
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

    def fit(self, agent_loop_manager) -> None:
        """Train, watching over the rollout engines.

        Raises:
            RolloutEngineDied: An engine died; without the watch verl waits for it for ever.
        """
        replicas = [replica for manager in self._rollout_server_managers() for replica in manager.get_replicas()]
        run_watched(lambda: super(CPPOStep, self).fit(agent_loop_manager), replicas)

    def step(self, metrics: dict, timing_raw: dict) -> KVBatchMeta:
        """verl's step of one or more cycles, and the metrics of all that they sampled."""
        self.metrics, self.cycles = metrics, []
        batch = super().step(metrics, timing_raw)
        metrics |= {
            "training/global_step": self.global_steps,
            "cppo/planned_steps": self.total_training_steps,
            "cppo/last_step": int(self.global_steps >= self.total_training_steps),
        }
        self.of_rows = self._cppo_metrics() | data_metrics(*self._rows(), metrics.get("actor/grad_norm"))
        metrics |= self.of_rows
        return batch if batch.keys else nothing_to_delete()

    def _step_once(self, metrics: dict, timing_raw: dict, sample_batch_size: int) -> KVBatchMeta:
        """One cycle of CPPO (paper Algorithm 1 and §3.3)."""
        with marked_timer("gen", timing_raw, color="red"):
            self.on_sample_begin()
            sampled, allocation = self._sample_and_prune(metrics)
            self.on_sample_end()
        batch = self._gather(sampled, allocation, metrics)
        if len(batch.keys):
            with marked_timer("old_log_prob", timing_raw, color="blue"):
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
        allocator, rounds, self.replaced, self.failed = Allocator(self.plan, self.cppo), [], 0, 0
        together = self.cppo.scope == "batch"
        most = self.plan.sampled * self.cppo.max_gen_rounds
        while (wanted := allocator.questions_missing()) and allocator.sampled < most:
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
        in_flight, unused = self.replay_buffer.outstanding()
        metrics |= {
            "cppo/replaced_questions": self.replaced,
            "cppo/in_flight_questions": in_flight,
            "cppo/unused_questions": unused,
        }
        return sampled, allocation

    def _advantages(self, completions: KVBatchMeta) -> DataProto:
        """A over all G completions of a question (paper Eq. 2), never renormalised after the pruning."""
        rollout = self.config.actor_rollout_ref.rollout
        rows = read_scored(completions, rollout.prompt_length, rollout.response_length)
        if self.config.trainer.rollout_data_dir:
            rows.non_tensor_batch |= read_texts(completions, self.tokenizer)
        return outcome_advantages(rows, self.config)

    def _gather(self, sampled: DataProto, allocation: Allocation, metrics: dict) -> KVBatchMeta:
        """The rows to train on, balanced over the ranks."""
        rows = in_order(sampled, allocation.rows)
        trained = sampled.select_idxs(rows)
        ids = trained.non_tensor_batch
        batch = KVBatchMeta(partition_id=TRAIN, keys=ids["key"].tolist(), tags=ids["tag"].tolist())
        if len(rows):
            write_advantages(batch, trained)
            if self.config.trainer.balance_batch:
                batch = self._balance_batch(batch, metrics)
        self.cycles.append((sampled, trained, allocation))
        lengths = torch.tensor([tag["seq_len"] for tag in batch.tags])
        metrics |= padding_metrics(lengths, allocation.mini_batch_rows, self.plan.dp_size, self.config)
        batch.extra_info["temperature"] = self.config.actor_rollout_ref.rollout.temperature
        self.mini_batch_rows = allocation.mini_batch_rows
        return batch

    def _get_required_batch_multiple(self, dp_size: int) -> int:
        """1: the planned rows split over ranks and mini-batches, so that verl adds no rows of padding."""
        return 1

    def _correct_rollout_mismatch(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """verl's decoupled rollout correction on the kept rows.

        verl 0.9.1 does it inside `_compute_advantage`, which here comes before the old log-probs.
        """
        correction = self.config.algorithm.get("rollout_correction")
        if correction is None or correction.get("bypass_mode"):
            return batch
        fields = ["response_mask", "rollout_log_probs", "old_log_probs"]
        ragged = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
        if "rollout_log_probs" not in ragged:
            return batch
        rows, corrected = compute_rollout_correction_and_add_to_batch(
            DataProto(batch=ragged.to_padded_tensor()), correction
        )
        metrics |= corrected
        lengths = ragged["response_mask"].offsets().diff().tolist()
        written = {
            name: torch.nested.as_nested_tensor(
                [row[:length] for row, length in zip(rows.batch[name], lengths, strict=True)], layout=torch.jagged
            )
            for name in ("response_mask", "rollout_is_weights")
            if name in rows.batch
        }
        put = TensorDict(written, batch_size=len(batch.keys))
        tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=put)
        return batch

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """verl 0.9.1's with the planned mini-batch, of which it has no seam (see `RayCPPOTrainer._update_actor`)."""
        batch.fields = None  # all there are: verl's list is of before the reference's were put
        batch.extra_info.update(update_settings(self.config, self.mini_batch_rows))
        output = rename_dict(self.actor_rollout_wg.update_actor(batch)["metrics"], "actor/")
        output["perf/mfu/actor"] = output.pop("actor/mfu")
        metrics |= reduce_metrics(output)
        return batch

    def _delete(self, keys: np.ndarray) -> None:
        """Completions that are not trained on leave the queue."""
        if len(keys):
            tq.kv_clear(keys=list(keys), partition_id=TRAIN)

    # --- asking for questions ---

    def _replace(self, dropped: int) -> None:
        """Ask for a question for each that is left out, up to `max_gen_rounds` times the questions of a step."""
        number = min(dropped, self.plan.questions * (self.cppo.max_gen_rounds - 1) - self.replaced)
        if number > 0:
            self.replaced += number
            self._add_prompts_to_generate(number)

    def _next_train_batch(self, num_prompts: int | None = None) -> TensorDict:
        """The next questions of the data, named by step and position so that the same run asks the same again."""
        step, first = self.asked if self.asked[0] == self.global_steps else (self.global_steps, 0)
        count = num_prompts or self.plan.questions
        questions = self.train_dataloader.draw(count)
        for position, question in enumerate(questions, first):
            question["uid"] = np.array([f"{step}:{position}"], dtype=object)
        self.asked = (step, first + count)
        batch = tu.concat_tensordict([tu.get_tensordict(question) for question in questions])
        tu.assign_non_tensor_data(batch, "global_steps", self.global_steps)
        return batch

    def _add_async_warmup_batches(self, num_warmup_batches: int | float) -> None:
        """verl's prefetch, counted in questions of our step instead of `train_batch_size`."""
        missing = math.floor(num_warmup_batches * self.plan.questions) - self._restored_tq_prompt_count
        if missing > 0:
            self._add_prompts_to_generate(missing)

    def _count_failures(self, errors: list[str]) -> None:
        """
        Raises:
            SamplingFailed: See there.
        """
        self.failed += len(errors)
        if self.failed > self.plan.questions or any(error.startswith(RewardHung.__name__) for error in errors):
            raise SamplingFailed(
                f"the sampling of {self.failed} questions failed in step {self.global_steps}, which takes "
                f"{self.plan.questions}; the last one: {errors[-1]}"
            )

    def _check_samplers(self) -> None:
        """
        Raises:
            ActorDiedError: An agent loop's process is gone: what it was asked for will not come.
        """
        workers = getattr(self.agent_loop_manager, "agent_loop_workers", [])
        if workers:
            answers, _ = ray.wait(
                [worker.__ray_ready__.remote() for worker in workers], num_returns=len(workers), timeout=1
            )
            ray.get(answers)

    # --- metrics ---

    def _rows(self) -> tuple[DataProto, DataProto]:
        """All rows that the step sampled, and those that it trained on."""
        sampled, trained, _ = zip(*self.cycles, strict=True)
        return DataProto.concat(list(sampled)), DataProto.concat(list(trained))

    def _cppo_metrics(self) -> dict[str, float]:
        sampled, _, allocations = zip(*self.cycles, strict=True)
        starts = np.cumsum([0, *map(len, sampled)])
        kept = torch.cat([taken.rows + start for taken, start in zip(allocations, starts, strict=False)])
        surplus = sum(taken.surplus for taken in allocations)
        return step_metrics(sampled_rows(DataProto.concat(list(sampled))), kept, rounds=1, surplus=surplus)

    def _compute_metrics(self, batch: KVBatchMeta, metrics, timing_raw, global_steps, epoch) -> None:
        """verl's; the curves describe what was sampled, so that GRPO's and CPPO's can be compared."""
        if any(len(trained) for _, trained, _ in self.cycles):
            super()._compute_metrics(batch, metrics, timing_raw, global_steps, epoch)
        metrics |= self.of_rows | timing_metrics(*self._rows(), timing_raw, self._get_n_gpus_for_throughput())

    def _log_rollout_data(self, batch: KVBatchMeta, timing_raw: dict, rollout_data_dir: str) -> None:
        """All that was sampled, as in V0; verl's would dump what is left in the queue."""
        with marked_timer("dump_rollout_generations", timing_raw, color="green"):
            sampled, _ = self._rows()
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

    def _build_replay_buffer(self) -> QuestionQueue:
        return QuestionQueue(
            self.config,
            self.trainer_mode,
            replace=self._add_prompts_to_generate,
            on_failure=self._count_failures,
            check=self._check_samplers,
        )

    def _init_dataloader(self) -> None:
        """verl's dataloaders, the training one of single questions behind a `QuestionStream`, and the steps in them."""
        with open_dict(self.config):
            self.config.data.gen_batch_size = 1  # what verl reads as the training dataloader's batch size
        super()._init_dataloader()
        trainer, optimizer = self.config.trainer, self.config.actor_rollout_ref.actor.optim
        self.train_dataloader = QuestionStream(self.train_dataloader, self.plan.questions, trainer.total_epochs)
        self.steps_per_epoch = self.plan.steps_per_epoch(len(self.train_dataset))
        in_data = self.steps_per_epoch * trainer.total_epochs
        self.total_training_steps = min(trainer.total_training_steps or in_data, in_data)
        optimizer.total_training_steps = self.total_training_steps

    def _load_checkpoint(self) -> None:
        """As verl, without the completions that the step of the checkpoint had trained on."""
        super()._load_checkpoint()
        held = tq.kv_list(TRAIN)[TRAIN] if self._restored_tq_prompt_count else {}
        questions = {key for key, tag in held.items() if tag.get("is_prompt")}
        self._delete(np.array([key for key in held if key.split("_")[0] not in questions]))

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()
        if on_cpu():
            from cppo_verl.cpu.worker import CPUActorRolloutRefWorker

            self.role_worker_mapping = dict.fromkeys(self.role_worker_mapping, ray.remote(CPUActorRolloutRefWorker))

    def on_validate_begin(self) -> None:
        """verl's first call after its logger is there, where it validates before training."""
        self._continue_log()
        super().on_validate_begin()

    def on_train_begin(self) -> None:
        """verl's first call after its logger is there, where it does not."""
        self._continue_log()
        super().on_train_begin()

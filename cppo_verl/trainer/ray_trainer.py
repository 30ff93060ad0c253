"""`RayCPPOTrainer`: verl's colocated trainer with CPPO's step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from omegaconf import open_dict
from verl import DataProto
from verl.experimental.separation.ray_trainer import SeparateRayPPOTrainer
from verl.protocol import pad_dataproto_to_divisor, unpad_dataproto
from verl.trainer.ppo.metric_utils import (
    compute_data_metrics,
    compute_throughout_metrics,
    compute_timing_metrics,
    compute_variance_proxy_metrics,
)
from verl.trainer.ppo.ray_trainer import RayPPOTrainer, compute_advantage
from verl.trainer.ppo.reward import extract_reward
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_add_to_batch
from verl.utils import tensordict_utils as tu
from verl.utils.debug import marked_timer
from verl.utils.py_functional import rename_dict
from verl.utils.skip.skip_manager import SkipManager
from verl.workers.utils.padding import left_right_2_no_padding

from cppo_verl.allocation import Allocation, Allocator
from cppo_verl.checkpoints import Checkpoints
from cppo_verl.config import CPPOConfig
from cppo_verl.files import keep_latest, write_whole
from cppo_verl.metrics import step_metrics
from cppo_verl.trainer.best import BestCheckpoint
from cppo_verl.trainer.checks import plan_from_config
from cppo_verl.trainer.metrics_log import MetricsLog
from cppo_verl.trainer.padding import padding_metrics
from cppo_verl.trainer.questions import QuestionStream
from cppo_verl.trainer.rollout_seed import SEED_KEY, request_seeds
from cppo_verl.trainer.rows import name_completions, name_questions, num_questions, row_advantages, sampled_rows

STEP_METRICS = "metrics.json"
"""In a checkpoint: what its step logs, as far as it was known when it was saved."""


class RayCPPOTrainer(SeparateRayPPOTrainer):
    """Completion Pruning Policy Optimization (arXiv 2503.22342) in verl 0.9.1.

    Of verl's two V0 trainers, `SeparateRayPPOTrainer` cuts the step into small methods, and
    `RayPPOTrainer.init_workers` sets up the colocated engines; this takes one from each. What is
    overridden is the order of the step (advantage before the forwards), the size of the mini-batch, and
    which rows the metrics describe. Start-up, validation, checkpoints and logging are verl's.
    """

    def __init__(self, config, *args, **kwargs):
        self.cppo = CPPOConfig.from_mapping(config.cppo)
        self.plan = plan_from_config(config)
        self.metrics_log = MetricsLog(config.trainer.default_local_dir)
        self.unlogged: dict[str, float] = {}
        """Metrics of the step that the run goes on from, where a kill came before they were logged."""
        self.best = BestCheckpoint(config.trainer.default_local_dir)
        self.checkpoints = Checkpoints(config.trainer.default_local_dir, config.trainer.max_actor_ckpt_to_keep)
        with open_dict(config):
            config.trainer.max_actor_ckpt_to_keep = None  # verl deletes the old weights before the new are complete
        super().__init__(config, *args, **kwargs)

    def init_workers(self) -> None:
        """Actor, reference and rollout on the same devices (the parent's is for separate pools)."""
        RayPPOTrainer.init_workers(self)

    def fit(self) -> None:
        """Train until the data, or `trainer.total_training_steps`, are used up."""
        SkipManager.init(self.config)
        try:
            super().fit()
        finally:
            self._shutdown_dump_executor()

    def fit_step(self, questions: QuestionStream) -> None:
        """One step of CPPO (paper Algorithm 1 and §3.3)."""
        if self._is_finished():
            return
        self._begin_step(questions)
        with marked_timer("step", self.timing_raw):
            sampled, allocation = self._sample_and_prune(questions)
            self.is_last_step = self.is_last_step or not questions.has_next_step()
            self.metrics["cppo/last_step"] = int(self.is_last_step)
            batch = self._gather(sampled, allocation)
            if len(batch):
                batch = self._fit_compute_log_prob(batch)
                batch = self._correct_rollout_mismatch(batch)
                batch = self._fit_compute_ref_log_prob(batch)
                batch = self._fit_update_actor(batch)
        self.metrics |= self._data_metrics(sampled, batch) | self._timing_metrics(sampled, batch)
        self._fit_save_checkpoint()  # while the rollout engine sleeps and its memory is free
        with marked_timer("step", self.timing_raw):
            self._fit_update_weights()
            self._fit_dump_data(sampled)
        self._fit_validate()
        self._fit_stop_profile()
        self.metrics |= self._timing_metrics(sampled, batch)
        self._fit_experimental(sampled)
        self._fit_postprocess_step()

    # --- the stages of the step, in order ---

    def _is_finished(self) -> bool:
        """Whether the run was at its end when it was started again; verl 0.9.1 would train on."""
        self.is_last_step = self.global_steps > self.total_training_steps
        if self.is_last_step:
            print(f"All {self.total_training_steps} steps are done", flush=True)
        return self.is_last_step

    def _begin_step(self, questions: QuestionStream) -> None:
        self.epoch = questions.epoch
        self.metrics = {
            "training/global_step": self.global_steps,
            "training/epoch": self.epoch,
            "cppo/planned_steps": self.total_training_steps,
        }
        self.timing_raw = {}
        SkipManager.set_step(self.global_steps)
        self._fit_prepare_step()
        self._fit_start_profile()

    def _sample_and_prune(self, questions: QuestionStream) -> tuple[DataProto, Allocation]:
        """Sample, score and prune round after round until the step's rows are full."""
        allocator, rounds = Allocator(self.plan, self.cppo), []
        while wanted := allocator.questions_needed():
            taken = questions.take(wanted)
            if not taken:
                break
            first = allocator.sampled // self.plan.rollout_n
            batch = self._sample(self._questions_batch(taken, first))
            batch = self._fit_compute_reward(batch)
            batch = self._compute_advantage(batch)
            with marked_timer("prune", self.timing_raw, color="brown"):
                ids = batch.non_tensor_batch
                allocator.add(row_advantages(batch), ids["uid"], ids["row_id"])
            rounds.append(batch)
        with marked_timer("gen", self.timing_raw, color="red"):
            self.checkpoint_manager.sleep_replicas()
        with marked_timer("prune", self.timing_raw, color="brown"):
            sampled, allocation = DataProto.concat(rounds), allocator.take()
            self.metrics |= step_metrics(
                sampled_rows(sampled), allocation.rows, rounds=allocator.rounds, surplus=allocation.surplus
            )
        return sampled, allocation

    def _questions_batch(self, taken: list[dict[str, Any]], first: int) -> DataProto:
        batch = DataProto.concat([DataProto.from_single_dict(question) for question in taken])
        batch.meta_info["temperature"] = self.config.actor_rollout_ref.rollout.temperature
        name_questions(batch, self.global_steps, first)
        return batch

    def _sample(self, batch: DataProto) -> DataProto:
        """G completions of each question, scored by the reward workers as they finish."""
        n = self.plan.rollout_n
        requests = self._get_gen_batch(batch).repeat(repeat_times=n, interleave=True)
        requests.meta_info["global_steps"] = self.global_steps
        batch = batch.repeat(repeat_times=n, interleave=True)
        name_completions(batch, n)
        if self.cppo.rollout_seed is not None:
            requests.non_tensor_batch[SEED_KEY] = request_seeds(
                self.cppo.rollout_seed, batch.non_tensor_batch["row_id"]
            )
        requests, padding = pad_dataproto_to_divisor(requests, len(self.async_rollout_manager.agent_loop_workers))
        with marked_timer("gen", self.timing_raw, color="red"):
            if self.curr_step_profile:
                self.llm_server_manager.start_profile()
            completions = self.async_rollout_manager.generate_sequences(requests)
            if self.curr_step_profile:
                self.llm_server_manager.stop_profile()
        self.timing_raw.update(completions.meta_info.pop("timing", {}))
        return batch.union(unpad_dataproto(completions, padding))

    def _compute_advantage(self, batch: DataProto) -> DataProto:
        """A over all G completions of a question (paper Eq. 2), never renormalised after the pruning."""
        with marked_timer("adv", self.timing_raw, color="brown"):
            batch.batch["token_level_scores"] = batch.batch["token_level_rewards"] = self.reward_tensor
            return compute_advantage(
                batch,
                adv_estimator=self.config.algorithm.adv_estimator,
                num_repeat=self.plan.rollout_n,
                norm_adv_by_std_in_grpo=self.config.algorithm.norm_adv_by_std_in_grpo,
                config=self.config.algorithm,
            )

    def _gather(self, sampled: DataProto, allocation: Allocation) -> DataProto:
        """The rows to train on, balanced over the ranks."""
        batch = sampled.select_idxs(allocation.rows)
        batch.meta_info["mini_batch_rows"] = allocation.mini_batch_rows
        if len(batch) and self.config.trainer.balance_batch:
            self._balance_batch(batch, metrics=self.metrics)
        lengths = batch.batch["attention_mask"].sum(dim=1)
        self.metrics |= padding_metrics(lengths, allocation.mini_batch_rows, self.plan.dp_size, self.config)
        for rows in (sampled, batch):
            rows.meta_info["global_token_num"] = rows.batch["attention_mask"].sum(dim=-1).tolist()
            rows.meta_info["images_seqlens"] = [
                length
                for image in rows.non_tensor_batch.get("multi_modal_inputs", [])
                if "image_grid_thw" in image
                for length in image["images_seqlens"].tolist()
            ]
        return batch

    def _correct_rollout_mismatch(self, batch: DataProto) -> DataProto:
        """verl's decoupled rollout correction, where it has its old log-probs, on the kept rows.

        verl 0.9.1 does it inside `_fit_compute_advantage`, which here comes before the old log-probs.
        """
        correction = self.config.algorithm.get("rollout_correction")
        if correction is None or correction.get("bypass_mode") or "rollout_log_probs" not in batch.batch:
            return batch
        batch, metrics = compute_rollout_correction_and_add_to_batch(batch, correction)
        self.metrics |= metrics
        return batch

    def _update_actor(self, batch: DataProto) -> DataProto:
        """verl 0.9.1's `RayPPOTrainer._update_actor` with the planned mini-batch.

        verl's mini-batch is always `ppo_mini_batch_size * rollout.n` rows, and divides the loss; there is
        no seam below this method for another number. Distillation, refused at start, is left out.
        """
        actor, rollout = self.config.actor_rollout_ref.actor, self.config.actor_rollout_ref.rollout
        batch.meta_info["multi_turn"] = rollout.multi_turn.enable
        batch.meta_info["temperature"] = rollout.temperature
        mini_batch_rows = batch.meta_info["mini_batch_rows"]
        data = left_right_2_no_padding(batch.to_tensordict())
        tu.assign_non_tensor(
            data,
            calculate_entropy=actor.calculate_entropy or actor.entropy_coeff != 0.0,
            distillation_use_topk=False,
            distillation_only=False,
            global_batch_size=mini_batch_rows,
            mini_batch_size=mini_batch_rows,
            epochs=actor.ppo_epochs,
            seed=actor.data_loader_seed,
            dataloader_kwargs={"shuffle": actor.shuffle},
            compute_loss=True,
        )
        metrics = rename_dict(tu.get(self.actor_rollout_wg.update_actor(data), "metrics"), "actor/")
        metrics["perf/mfu/actor"] = metrics.pop("actor/mfu")
        return DataProto.from_single_dict(data={}, meta_info={"metrics": metrics})

    def _save_checkpoint(self) -> None:
        with self.checkpoints.saving(self.global_steps) as folder:
            super()._save_checkpoint()
            write_whole(folder / STEP_METRICS, json.dumps(self.metrics, default=float))

    def _validate(self, *args, **kwargs) -> dict[str, float]:
        metrics = self.unlogged | super()._validate(*args, **kwargs)
        self.unlogged = {}
        return metrics | self.best.offer(self.global_steps, metrics) if self.cppo.save_best else metrics

    def _fit_dump_data(self, batch: DataProto) -> None:
        self.reward_extra_infos_dict = extract_reward(batch)[1]
        super()._fit_dump_data(batch)

    def _dump_generations(self, *args, dump_path: str, **kwargs) -> None:
        """verl's, and with `cppo.dumps_to_keep` the deletion of the oldest after it."""
        super()._dump_generations(*args, dump_path=dump_path, **kwargs)
        if self.cppo.dumps_to_keep:
            rotated = self._dump_executor.submit(
                keep_latest, Path(dump_path), self.cppo.dumps_to_keep, self.global_steps
            )
            self._dump_futures.append(rotated)

    def _data_metrics(self, sampled: DataProto, trained: DataProto) -> dict[str, float]:
        """verl's curves describe what was sampled, so that GRPO's and CPPO's can be compared."""
        metrics = compute_data_metrics(sampled, use_critic=False)
        if len(trained):
            metrics |= compute_variance_proxy_metrics(trained, self.metrics.get("actor/grad_norm"))
        return metrics

    def _timing_metrics(self, sampled: DataProto, trained: DataProto) -> dict[str, float]:
        """Seconds of each stage so far, and time a token over the tokens that a stage really saw: generation the
        sampled ones, the forwards and the update the kept ones."""
        timing = compute_timing_metrics(sampled, self.timing_raw)
        if len(trained):
            kept_timing = compute_timing_metrics(trained, self.timing_raw)
            stages = ("ref", "update_actor")
            timing |= {k: v for k, v in kept_timing.items() if k.rpartition("/")[2] in stages}
        return timing | compute_throughout_metrics(sampled, self.timing_raw, self.resource_pool_manager.get_n_gpus())

    def _val_metrics_update(self, data_sources, sample_uids, *args) -> dict[str, float]:
        """verl's validation metrics, and of how many questions each is: no interval without that."""
        metrics = super()._val_metrics_update(data_sources, sample_uids, *args)
        return metrics | num_questions(data_sources, sample_uids)

    # --- start-up and resume ---

    def _create_dataloader(self, train_dataset, val_dataset, collate_fn, train_sampler) -> None:
        """verl's dataloaders, the training one of single questions behind a `QuestionStream`."""
        epochs = self.config.trainer.total_epochs
        with open_dict(self.config):
            if self.config.trainer.total_training_steps is None:
                steps = self.plan.steps_per_epoch(len(train_dataset)) * epochs
                self.config.trainer.total_training_steps = steps
            self.config.data.gen_batch_size = 1  # what verl reads as the training dataloader's batch size
        super()._create_dataloader(train_dataset, val_dataset, collate_fn, train_sampler)
        self.config.data.gen_batch_size = self.plan.questions
        self.train_dataloader = QuestionStream(self.train_dataloader, self.plan.questions, epochs)

    def _load_checkpoint(self) -> None:
        """As verl, but only what is complete, and the data go on where they stopped also at an epoch's end, where
        verl starts over."""
        trainer = self.config.trainer
        if trainer.resume_mode == "auto":
            self.checkpoints.recover()
        super()._load_checkpoint()
        if self.global_steps and not trainer.val_only:
            folder = Path(trainer.default_local_dir) / f"global_step_{self.global_steps}"
            if trainer.resume_mode == "resume_path":
                folder = Path(trainer.resume_from_path)
            self.train_dataloader.load_state_dict(torch.load(folder / "data.pt", weights_only=False))
        self.best.forget_after(self.global_steps)
        is_logged = self.metrics_log.keep_until(self.global_steps, self.logger)
        if self.global_steps and not trainer.val_only:
            self._log_saved_step(is_logged)

    def _log_saved_step(self, is_logged: bool) -> None:
        """Where a kill came between a step's checkpoint and its line: the line, and the validation if one was due.

        The line has the times up to the checkpoint. verl validates before training at every start, which would log
        the step that a run goes on from once more; it does so here only where that step has no line.
        """
        trainer, step = self.config.trainer, self.global_steps
        saved = Path(trainer.default_local_dir) / f"global_step_{step}" / STEP_METRICS
        if is_logged or trainer.resume_mode != "auto" or not saved.is_file():
            trainer.val_before_train = trainer.val_before_train and not is_logged
            return
        self.unlogged = json.loads(saved.read_text())
        is_due = trainer.test_freq > 0 and (step % trainer.test_freq == 0 or self.unlogged["cppo/last_step"])
        trainer.val_before_train = bool(is_due)
        if not is_due:
            self.logger.log(data=self.unlogged, step=step)
            self.unlogged = {}

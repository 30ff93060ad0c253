"""`RayCPPOTrainer`: verl's colocated trainer with CPPO's step."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import open_dict
from verl import DataProto
from verl.experimental.separation.ray_trainer import SeparateRayPPOTrainer
from verl.protocol import pad_dataproto_to_divisor, unpad_dataproto
from verl.trainer.ppo.ray_trainer import RayPPOTrainer
from verl.trainer.ppo.reward import extract_reward
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_add_to_batch
from verl.utils import tensordict_utils as tu
from verl.utils.debug import marked_timer
from verl.utils.py_functional import rename_dict
from verl.utils.skip.skip_manager import SkipManager
from verl.workers.utils.padding import left_right_2_no_padding

from cppo_verl.algorithm.allocation import Allocation, Allocator
from cppo_verl.algorithm.metrics import step_metrics
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.preflight.plan import plan_from_config
from cppo_verl.runs.notices import notice
from cppo_verl.trainer.padding import padding_metrics
from cppo_verl.trainer.questions import QuestionStream
from cppo_verl.trainer.rollout_seed import SEED_KEY, request_seeds
from cppo_verl.trainer.rows import name_completions, name_questions, row_advantages, sampled_rows
from cppo_verl.trainer.stages import (
    data_metrics,
    outcome_advantages,
    timing_metrics,
    token_advantages,
    update_settings,
)
from cppo_verl.trainer.watched import WatchedRun


class RayCPPOTrainer(WatchedRun, SeparateRayPPOTrainer):
    """Completion Pruning Policy Optimization (arXiv 2503.22342) in verl 0.9.1.

    Of verl's two V0 trainers, `SeparateRayPPOTrainer` cuts the step into small methods, and
    `RayPPOTrainer.init_workers` sets up the colocated engines; this takes one from each. What is
    overridden is the order of the step (advantage before the forwards), the size of the mini-batch, and
    which rows the metrics describe. Start-up, validation, checkpoints and logging are verl's.

    With a critic (`algorithm.adv_estimator=gae`) it is PPO, in verl's order: the advantage comes after the critic's
    values, token by token, and nothing is pruned.
    """

    def __init__(self, config, *args, **kwargs):
        self.cppo = CPPOConfig.from_mapping(config.cppo)
        self.plan = plan_from_config(config)
        self._open_run_folder(config)
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
        """One step of CPPO (paper Algorithm 1 and §3.3), or with a critic of PPO."""
        if self._is_finished():
            return
        self._begin_step(questions)
        with marked_timer("step", self.timing_raw):
            sampled, allocation = self._sample_and_prune(questions)
            self.is_last_step = self.is_last_step or not questions.has_next_step()
            self.metrics["cppo/last_step"] = int(self.is_last_step)
            with marked_timer("gather", self.timing_raw):
                batch = self._gather(sampled, allocation)
            if len(batch):
                batch = self._fit_compute_log_prob(batch)
                batch = self._correct_rollout_mismatch(batch)
                batch = self._fit_compute_ref_log_prob(batch)
                batch = self._fit_compute_critic(batch)
                batch = self._compute_token_advantage(batch)
                batch = self._fit_update_critic(batch)
                batch = self._fit_update_actor(batch)
        sampled = batch if self.use_critic else sampled  # all of it, with values and advantages
        self.metrics |= data_metrics(sampled, batch, self.metrics.get("actor/grad_norm"))
        self.metrics |= self._timing_metrics(sampled, batch)
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
            notice(f"All {self.total_training_steps} steps are done")
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
                strengths = torch.zeros(len(batch)) if self.use_critic else row_advantages(batch)
                allocator.add(strengths, ids["uid"], ids["row_id"])
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
        """A over all G completions of a question (paper Eq. 2), never renormalised after the pruning.

        With a critic only the rewards: there all completions are kept, and no row has an A of its own.
        """
        with marked_timer("adv", self.timing_raw, color="brown"):
            batch.batch["token_level_scores"] = batch.batch["token_level_rewards"] = self.reward_tensor
            return batch if self.use_critic else outcome_advantages(batch, self.config)

    def _compute_token_advantage(self, batch: DataProto) -> DataProto:
        """A of each token, where a critic has said what it expected."""
        if not self.use_critic:
            return batch
        with marked_timer("adv", self.timing_raw, color="brown"):
            return token_advantages(batch, self.config)

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

    def _fit_compute_log_prob(self, batch: DataProto) -> DataProto:
        """verl's, or places for the old log-probs that the loss does not read (see `first_pass`)."""
        if not self.cppo.skip_old_log_prob:
            return super()._fit_compute_log_prob(batch)
        batch.batch["old_log_probs"] = torch.full_like(batch.batch["token_level_scores"], torch.nan)
        return batch

    def _correct_rollout_mismatch(self, batch: DataProto) -> DataProto:
        """verl's decoupled rollout correction, where it has its old log-probs, on the kept rows.

        verl 0.9.1 does it inside `_fit_compute_advantage`, which here comes before the old log-probs.
        """
        correction = self.config.algorithm.get("rollout_correction")
        if correction is None or correction.get("bypass_mode") or "rollout_log_probs" not in batch.batch:
            return batch
        if self.cppo.skip_old_log_prob:
            return batch
        batch, metrics = compute_rollout_correction_and_add_to_batch(batch, correction)
        self.metrics |= metrics
        return batch

    def _update_actor(self, batch: DataProto) -> DataProto:
        """verl 0.9.1's with the planned mini-batch, for which there is no seam below this method."""
        batch.meta_info["multi_turn"] = self.config.actor_rollout_ref.rollout.multi_turn.enable
        settings = update_settings(self.config, batch.meta_info["mini_batch_rows"])
        batch.meta_info["temperature"] = settings["temperature"]
        data = left_right_2_no_padding(batch.to_tensordict())
        tu.assign_non_tensor(data, **settings)
        metrics = rename_dict(tu.get(self.actor_rollout_wg.update_actor(data), "metrics"), "actor/")
        metrics["perf/mfu/actor"] = metrics.pop("actor/mfu")
        metrics |= self._updates_clipped(metrics["actor/grad_norm"])
        return DataProto.from_single_dict(data={}, meta_info={"metrics": metrics})

    def _fit_dump_data(self, batch: DataProto) -> None:
        self.reward_extra_infos_dict = extract_reward(batch)[1]
        super()._fit_dump_data(batch)

    def _timing_metrics(self, sampled: DataProto, trained: DataProto) -> dict[str, float]:
        return timing_metrics(sampled, trained, self.timing_raw, self.resource_pool_manager.get_n_gpus())

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
        """The data go on where they stopped also at an epoch's end, where verl starts over."""
        super()._load_checkpoint()
        if self.global_steps and not self.config.trainer.val_only:
            self.train_dataloader.load_state_dict(torch.load(self._loaded_folder() / "data.pt", weights_only=False))
        self._continue_log()

"""CPPO's step over verl's V0 trainer, and PPO's, which prunes nothing."""

from __future__ import annotations

from verl import DataProto
from verl.trainer.ppo.reward import extract_reward
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_add_to_batch
from verl.utils import tensordict_utils as tu
from verl.utils.debug import marked_timer
from verl.utils.skip.skip_manager import SkipManager
from verl.workers.utils.padding import left_right_2_no_padding

from cppo_verl.algorithm.allocation import Allocation
from cppo_verl.algorithm.metrics import UPDATES, clipping_by_place
from cppo_verl.algorithm.rejection import LEFT_OUT
from cppo_verl.trainer.old_policy import corrects_rollout, unread_log_probs
from cppo_verl.trainer.padding import forward_metrics
from cppo_verl.trainer.questions import QuestionStream
from cppo_verl.trainer.rejected import rejection
from cppo_verl.trainer.rows import read_by_workers, select_rows, together, weigh_advantages, with_tokens
from cppo_verl.trainer.stages import (
    actor_metrics,
    clip_fractions,
    data_metrics,
    epoch_metrics,
    timing_metrics,
    token_advantages,
    update_count,
    update_settings,
)
from cppo_verl.trainer.v0.sampling import PrunedSampling
from cppo_verl.trainer.v0.sending import SendsWhatIsRead


class CPPOStep(PrunedSampling, SendsWhatIsRead):
    """A part of `RayCPPOTrainer`: a step.

    What is overridden is the order of the step (advantage before the forwards), the size of the mini-batch, and which
    rows the metrics describe. Validation, checkpoints and logging are verl's.

    With a critic (`algorithm.adv_estimator=gae`) it is PPO, in verl's order: the advantage comes after the critic's
    values, token by token, and nothing is pruned.
    """

    def fit_step(self, questions: QuestionStream) -> None:
        """One step of CPPO (paper Algorithm 1 and §3.3), or with a critic of PPO."""
        self._begin_step(questions)
        with marked_timer("step", self.timing_raw):
            sampled, allocation = self._sample_and_prune(questions)
            self._prefetch(questions)
            batch = self._gather(sampled, allocation)
            if len(batch):
                batch = self._fit_compute_log_prob(batch)
                batch = self._correct_rollout_mismatch(batch)
            if len(batch) and not self.metrics.get(LEFT_OUT):
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

    # --- the stages of the step, in order; the sampling is `PrunedSampling`'s, what is not here verl's ---

    def _begin_step(self, questions: QuestionStream) -> None:
        questions.begin_step()
        self.epoch = questions.epoch
        self.metrics = {
            "training/global_step": self.global_steps,
            "training/epoch": self.epoch,
            "cppo/planned_steps": self.total_training_steps,
            UPDATES: 0,
            **epoch_metrics(self.plan, len(self.train_dataset), self.config),
        }
        self.timing_raw = {}
        SkipManager.set_step(self.global_steps)
        self._fit_prepare_step()
        self.metrics["cppo/last_step"] = int(self.is_last_step)
        self._fit_start_profile()

    def _prefetch(self, questions: QuestionStream) -> None:
        """Fetch the next step's questions while this one trains."""
        if not self.is_last_step and not hasattr(self.train_dataset, "on_batch_end"):  # which may change the questions
            questions.prefetch()

    def _gather(self, sampled: DataProto, allocation: Allocation) -> DataProto:
        """The rows to train on, balanced over the ranks."""
        with marked_timer("gather", self.timing_raw):
            batch = select_rows(sampled, allocation.rows)
            if self.kept and len(batch):
                batch = with_tokens(batch, together(self.kept))
            self.kept = ()
            weigh_advantages(batch, allocation.weights)
            batch.meta_info["mini_batch_rows"] = allocation.mini_batch_rows
            if len(batch) and self.config.trainer.balance_batch:
                self._balance_batch(batch, metrics=self.metrics)
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
            batch = super()._fit_compute_log_prob(batch)
            self.metrics |= forward_metrics("old", self.actor_rollout_wg, tokens_of(batch), self.config)
            return batch
        batch.batch["old_log_probs"] = unread_log_probs(batch.batch["token_level_scores"])
        return batch

    def _correct_rollout_mismatch(self, batch: DataProto) -> DataProto:
        """verl's decoupled rollout correction on the kept rows, where there are the rollout's log-probs."""
        if corrects_rollout(self.config) and "rollout_log_probs" in batch.batch:
            before, correction = batch.batch["response_mask"], self.config.algorithm.rollout_correction
            batch, metrics = compute_rollout_correction_and_add_to_batch(batch, correction)
            rows, ranks = batch.meta_info["mini_batch_rows"], self.plan.dp_size
            self.metrics |= metrics | rejection(before, batch.batch["response_mask"], rows, ranks, self.config)
        return batch

    def _fit_compute_ref_log_prob(self, batch: DataProto) -> DataProto:
        batch = super()._fit_compute_ref_log_prob(batch)
        if self.use_reference_policy:
            self.metrics |= forward_metrics("ref", self.ref_policy_wg, tokens_of(batch), self.config)
        return batch

    def _compute_token_advantage(self, batch: DataProto) -> DataProto:
        """A of each token, where a critic has said what it expected."""
        if not self.use_critic:
            return batch
        with marked_timer("adv", self.timing_raw, color="brown"):
            return token_advantages(batch, self.config)

    def _update_actor(self, batch: DataProto) -> DataProto:
        """verl 0.9.1's with the planned mini-batch, for which there is no seam below this method."""
        settings = update_settings(self.config, batch.meta_info["mini_batch_rows"])
        batch.meta_info["temperature"] = settings["temperature"]
        data = left_right_2_no_padding(read_by_workers(batch).to_tensordict())
        tu.assign_non_tensor(data, **settings)
        reported = tu.get(self.actor_rollout_wg.update_actor(data), "metrics")
        metrics = actor_metrics(reported, self.config)
        metrics |= clipping_by_place(clip_fractions(metrics))
        metrics |= update_count(len(batch), batch.meta_info["mini_batch_rows"], self.config)
        self.metrics |= forward_metrics("update", self.actor_rollout_wg, tokens_of(batch), self.config)
        return DataProto.from_single_dict(data={}, meta_info={"metrics": metrics})

    def _fit_dump_data(self, batch: DataProto) -> None:
        self.reward_extra_infos_dict = extract_reward(batch)[1]
        super()._fit_dump_data(batch)

    def _stop_profiling(self, do_profile: bool, run_command: bool = False) -> None:
        """verl's; after the last profiled step the profiler's `finish_hook_cmd`, which `RayPPOTrainer.fit` runs."""
        steps = self.config.global_profiler.steps
        is_last = bool(steps) and (self.is_last_step or self.global_steps == max(steps))
        super()._stop_profiling(do_profile, run_command or (self.curr_step_profile and is_last))

    def _timing_metrics(self, sampled: DataProto, trained: DataProto) -> dict[str, float]:
        return timing_metrics(sampled, trained, self.timing_raw, self.resource_pool_manager.get_n_gpus())


def tokens_of(batch: DataProto) -> int:
    """Prompt and response tokens of a gathered batch."""
    return sum(batch.meta_info["global_token_num"])

"""The first half of a V0 step: questions are drawn, answered, scored and pruned, round after round."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from verl import DataProto
from verl.experimental.separation.ray_trainer import SeparateRayPPOTrainer
from verl.protocol import pad_dataproto_to_divisor, unpad_dataproto
from verl.utils.debug import marked_timer

from cppo_verl.algorithm.allocation import Allocation, Allocator
from cppo_verl.trainer.batch_advantages import finish_advantages
from cppo_verl.trainer.group.pruned import rule_where_sampled
from cppo_verl.trainer.group.scored import SCORED
from cppo_verl.trainer.questions import QuestionStream
from cppo_verl.trainer.rollout_seed import SEED_KEY, question_seeds
from cppo_verl.trainer.rows import SENT, name_completions, name_questions, row_bytes
from cppo_verl.trainer.sampling import sample_and_prune, sampling_metrics
from cppo_verl.trainer.stages import outcome_advantages
from cppo_verl.trainer.v0.agent_loop import CPPOAgentLoopManager, as_rows
from cppo_verl.trainer.v0.loop_times import over_rounds


class PrunedSampling(SeparateRayPPOTrainer):
    """A part of `RayCPPOTrainer`: verl's sampling, in rounds whose completions are pruned.

    It needs of the trainer `cppo`, the `plan` of a step, and the run's `outcomes`.
    """

    kept: Sequence[DataProto] = ()
    """Of the running step's rounds: completions that were sent, where the agent loops pruned the questions. The rows
    that were sampled are then without tokens."""

    def _sample_and_prune(self, questions: QuestionStream) -> tuple[DataProto, Allocation]:
        """Sample, score and prune round after round until the step's rows are full, or the epoch has no more."""
        allocator, self.kept = Allocator(self.plan, self.cppo), ()
        timed = partial(marked_timer, "prune", self.timing_raw, color="brown")

        def sample(wanted: int) -> DataProto | None:
            with marked_timer("draw", self.timing_raw):
                asked = questions.peek(wanted)
            return self._sample_round(asked, allocator.questions) if asked else None

        def settle(rows: DataProto, kept: torch.Tensor) -> None:
            questions.take(allocator.used)  # the rest is asked again in the next step: as on V1, none is lost

        finish = partial(finish_advantages, config=self.config)
        sampled, allocation = sample_and_prune(allocator, allocator.questions_needed, sample, settle, timed, finish)
        with marked_timer("gen", self.timing_raw, color="red"):
            self.checkpoint_manager.sleep_replicas()
        with timed():
            self.metrics |= sampling_metrics(sampled, allocation, allocator.rounds, self.outcomes)
        return sampled, allocation

    def _sample_round(self, asked: list[dict[str, Any]], first: int) -> DataProto:
        """G completions of each of these questions, with rewards and advantages.

        Args:
            asked: The questions.
            first: Of these, its position in the step.
        """
        batch = DataProto.concat([DataProto.from_single_dict(question) for question in asked])
        batch.meta_info["temperature"] = self.config.actor_rollout_ref.rollout.temperature
        name_questions(batch, self.global_steps, first)
        batch = self._sample(batch, first * self.plan.rollout_n)
        batch = self._fit_compute_reward(batch)
        return self._compute_advantage(batch)

    def _sample(self, batch: DataProto, rows_before: int) -> DataProto:
        """G completions of each question, scored by the reward workers as they finish.

        Args:
            batch: The questions.
            rows_before: Completions of the step's earlier rounds.
        """
        n = self.plan.rollout_n
        questions = self._get_gen_batch(batch)
        questions.meta_info["global_steps"] = self.global_steps
        if self.cppo.rollout_seed is not None:
            uids = batch.non_tensor_batch["uid"]
            questions.non_tensor_batch[SEED_KEY] = question_seeds(self.cppo.rollout_seed, uids)
        with marked_timer("gen", self.timing_raw, color="red"):
            if self.curr_step_profile:
                self.llm_server_manager.start_profile()
            completions = self._generate(questions, n)
            if self.curr_step_profile:
                self.llm_server_manager.stop_profile()
        times = completions.meta_info.pop("timing", {})
        self.timing_raw |= over_rounds(self.timing_raw, rows_before, times, n * len(batch))
        return self._sampled_rows(batch, completions)

    def _sampled_rows(self, questions: DataProto, completions: DataProto) -> DataProto:
        """Rows of all G completions of each question; without tokens where only what is kept was sent."""
        size = row_bytes(completions)
        if SCORED not in completions.meta_info:
            batch = questions.repeat(repeat_times=self.plan.rollout_n, interleave=True)
            name_completions(batch, self.plan.rollout_n)
            batch.non_tensor_batch[SENT] = np.full(len(batch), size)
            return batch.union(completions)
        rows = completions.meta_info.pop(SCORED)
        rows.meta_info |= questions.meta_info
        self.kept = [*self.kept, completions]
        sent = set(completions.non_tensor_batch["row_id"])
        rows.non_tensor_batch[SENT] = np.array([size * (name in sent) for name in rows.non_tensor_batch["row_id"]])
        return rows

    def _generate(self, questions: DataProto, n: int) -> DataProto:
        """n completions of each question, in rows; by verl's interface where the agent loops are others than ours."""
        manager = self.async_rollout_manager
        if isinstance(manager, CPPOAgentLoopManager):
            reads_all = hasattr(self.train_dataset, "on_batch_end")  # verl hands it the batch of a step
            rule = None if reads_all else rule_where_sampled(self.config, self.cppo, self.plan)
            return manager.generate_questions(questions, n, rule)
        rows, padding = pad_dataproto_to_divisor(as_rows(questions, n), len(manager.agent_loop_workers))
        return unpad_dataproto(manager.generate_sequences(rows), padding)

    def _compute_advantage(self, batch: DataProto) -> DataProto:
        """A over all G completions of a question (paper Eq. 2).

        With a critic only the rewards: there all completions are kept, and no row has an A of its own.
        """
        with marked_timer("adv", self.timing_raw, color="brown"):
            batch.batch["token_level_scores"] = batch.batch["token_level_rewards"] = self.reward_tensor
            return batch if self.use_critic else outcome_advantages(batch, self.config)

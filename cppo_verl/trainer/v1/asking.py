"""Which questions are asked: the steps' own, others in place of dropped and failed ones, a prefetch."""

from __future__ import annotations

import math

import numpy as np
from omegaconf import open_dict
from tensordict import TensorDict
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils import tensordict_utils as tu
from verl.utils.debug import marked_timer

from cppo_verl.algorithm.rule import PruningRule
from cppo_verl.trainer.group.pruned import rule_where_sampled
from cppo_verl.trainer.questions import QuestionStream, steps_of_run
from cppo_verl.trainer.reward_limit import RewardHung
from cppo_verl.trainer.v1.agent_loop import CPPOAgentLoopManagerTQ
from cppo_verl.trainer.v1.cycle import RunningStep
from cppo_verl.trainer.v1.queue import RULE, QuestionQueue


class SamplingFailed(RuntimeError):
    """More questions failed to be sampled than a step takes, or one of a validation, or one for a reward that hung."""


class AskedQuestions(PPOTrainer):
    """A part of CPPO's V1 trainers: verl's, with questions that are drawn one by one, from a plan.

    It needs of the trainer `cppo`, the `plan` of a step, and the `cycle_plan` of one of its cycles.
    """

    this_step: RunningStep
    asked: tuple[int, int] = (0, 0)
    """A step, and the questions that were asked in it: verl asks some before the step itself is running."""

    def _build_replay_buffer(self) -> QuestionQueue:
        return QuestionQueue(
            self.config,
            self.trainer_mode,
            replace=self._make_up,
            on_failure=self._count_failures,
        )

    def _init_dataloader(self) -> None:
        """verl's dataloaders, the training one of single questions behind a `QuestionStream`, and the steps in them."""
        with open_dict(self.config):
            self.config.data.gen_batch_size = 1  # what verl reads as the training dataloader's batch size
        super()._init_dataloader()
        trainer, optimizer = self.config.trainer, self.config.actor_rollout_ref.actor.optim
        self.train_dataloader = QuestionStream(self.train_dataloader, self.plan.questions)
        self.steps_per_epoch = self.plan.steps_per_epoch(len(self.train_dataset))
        asked = trainer.total_training_steps
        self.total_training_steps = steps_of_run(self.plan, len(self.train_dataset), trainer.total_epochs, asked)
        optimizer.total_training_steps = self.total_training_steps * self.parameter_sync_step

    @property
    def rule_where_sampled(self) -> PruningRule | None:
        """By which agent loops prune the questions that are asked now."""
        return rule_where_sampled(self.config, self.cppo, self.plan)

    def _replace(self, dropped: int) -> None:
        """Ask for a question for each that is left out, up to `max_gen_rounds` times the questions of a cycle."""
        most = self.cycle_plan.questions * (self.cppo.max_gen_rounds - 1)
        number = min(dropped, most - self.this_step.replaced)
        if number > 0:
            self.this_step.replaced += number
            self._add_prompts_to_generate(number)

    def _make_up(self, deleted: int) -> None:
        """Ask for a question for each that failed, or got too old."""
        self.this_step.made_up += deleted
        self._add_prompts_to_generate(deleted)

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
        if (rule := self.rule_where_sampled) and isinstance(self.agent_loop_manager, CPPOAgentLoopManagerTQ):
            tu.assign_non_tensor_data(batch, RULE, rule)
        return batch

    def _add_async_warmup_batches(self, num_warmup_batches: int | float) -> None:
        """verl's prefetch, counted in questions of our step instead of `train_batch_size`."""
        self._ask(math.floor(num_warmup_batches * self.plan.questions) - self._restored_tq_prompt_count)

    def _add_batch_to_generate(self) -> None:
        """verl's, of a step's questions; the next step's are fetched while these are being sampled."""
        with marked_timer("draw", self.timing_raw):
            self._ask(self.plan.questions)
        self.train_dataloader.prefetch()

    def _ask(self, wanted: int) -> None:
        """Ask for as many questions, but for no more than the steps up to the last one take."""
        steps_left = self.total_training_steps - self.global_steps + 1
        number = min(wanted, self.plan.questions * steps_left - sum(self.replay_buffer.outstanding()))
        if number > 0:
            self._add_prompts_to_generate(number)

    def _count_failures(self, errors: list[str], is_training: bool) -> None:
        """
        Args:
            errors: What went wrong in the sampling of each failed question.
            is_training: Whether these are questions of a step, which are replaced; a validation would score them 0.

        Raises:
            SamplingFailed: See there.
        """
        hung = [RewardHung(error) for error in errors if error.startswith(RewardHung.__name__)]
        cause, last = hung[0] if hung else None, errors[-1]
        if not is_training:
            message = f"the sampling of {len(errors)} validation questions failed; the last one: {last}"
            raise SamplingFailed(message) from cause
        self.this_step.failed += len(errors)
        failed, most = self.this_step.failed, self.cycle_plan.questions
        if failed > most or hung:
            raise SamplingFailed(
                f"the sampling of {failed} questions failed in step {self.global_steps}, which takes {most}; the last "
                f"one: {last}"
            ) from cause

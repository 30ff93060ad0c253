"""What a run tells of itself while it runs, and what it looks at before it saves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from cppo_verl.algorithm.metrics import validation_accuracy
from cppo_verl.trainer.part_validation import PartValidation
from cppo_verl.trainer.weight_check import not_finite
from cppo_verl.watch.alarms import Alarms, check_finite, weights_not_finite
from cppo_verl.watch.progress import ProgressLog, step_event
from cppo_verl.watch.updates import Updates

WAITS = {"critic_wg": "the weights", "actor_rollout_wg": "the weights", "reward_loop_manager": "the rollout engine"}
"""What verl's trainers make next, once they have set this attribute: of its start verl 0.9.1 has no other seam."""

TOKEN_MEANS = "token-mean", "seq-mean-token-mean"
"""`loss_agg_mode`s in which `actor/kl_loss` is a mean over tokens."""


class ReportsProgress(PartValidation):
    """A mixin over verl's trainers, V0 and V1: a run's folder, with `progress.jsonl` (see `watch.progress`).

    It needs of the trainer, besides what `PartValidation` does, `timing_raw` and `total_training_steps`. A step is
    told as soon as its metrics are there: before its checkpoint and its validation, which say so themselves.

    Raises:
        NotFinite: At the end of a step, before anything of it is saved: a gradient norm, a loss or a weight is not
            finite, or the policy is another one.
        NoUpdate: The same: this step and those before it updated nothing.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in WAITS and value is not None:
            self.progress.tell("waiting", what=WAITS[name])

    def _open_run_folder(self, config: DictConfig) -> None:
        super()._open_run_folder(config)
        self.progress = ProgressLog(config.trainer.default_local_dir)
        self.alarms = Alarms(config.data.max_response_length, config.actor_rollout_ref.actor.optim.get("clip_grad"))
        self.told_step, self.is_training, self.updates = 0, False, Updates(is_new=True)
        self.has_mean_loss = config.actor_rollout_ref.actor.get("loss_agg_mode") in TOKEN_MEANS
        self.progress.tell("waiting", what="the workers")

    def _load_checkpoint(self) -> None:
        mode = self.config.trainer.resume_mode
        if mode == "resume_path" or (mode == "auto" and self.checkpoints.last_complete()):
            self.progress.tell("waiting", what="the checkpoint")
        super()._load_checkpoint()
        self.told_step, self.updates = self.global_steps, Updates(is_new=not self.global_steps)

    def _continue_log(self) -> None:
        super()._continue_log()
        if not (self.is_training or self.config.trainer.val_only):
            self.is_training, self.logger = True, TellingTracking(self.logger, self._tell_step)
            steps = {"steps": self.total_training_steps, "questions": self.plan.questions}
            self.progress.tell("training", step=self.told_step, **steps)

    def _tell_step(self) -> None:
        """Tell of the running step, once, and end the run where it has lost its model."""
        step = self.metrics.get("training/global_step", 0)
        if step <= self.told_step or "cppo/questions" not in self.metrics:
            return
        self.told_step = step
        self.progress.tell("step", **step_event(step, self.total_training_steps, self.metrics, self.timing_raw))
        for text in self.alarms.of(step, self.metrics):
            self.progress.tell("alarm", step=step, text=text)
        check_finite(step, self.metrics, mean_loss=self.has_mean_loss)
        self.updates.check(step, self.metrics)

    def _save_checkpoint(self) -> None:
        self._tell_step()
        learning = [self.actor_rollout_wg, *([self.critic_wg] if self.use_critic else [])]
        if names := [name for workers in learning for name in not_finite(workers)]:
            raise weights_not_finite(self.global_steps, names)
        self.progress.tell("busy", what="saving a checkpoint")
        started = time.time()
        super()._save_checkpoint()
        path = f"{self.config.trainer.default_local_dir}/global_step_{self.global_steps}"
        self.progress.tell("checkpoint", step=self.global_steps, seconds=time.time() - started, path=path)

    def _validate(self, *args, **kwargs) -> dict[str, float]:
        self._tell_step()
        self.progress.tell("busy", what="validating")
        started = time.time()
        metrics = super()._validate(*args, **kwargs)
        told = {"step": self.global_steps, "seconds": time.time() - started}
        if (accuracy := validation_accuracy(metrics)) is not None:
            told["accuracy"] = accuracy
        if questions := [count for name, count in metrics.items() if name.endswith("/num_questions")]:
            told["questions"] = sum(questions)
        if "cppo/best/step" in metrics:
            told["best"] = metrics["cppo/best/step"] == self.global_steps
        self.progress.tell("validation", **told)
        return metrics


class TellingTracking:
    """verl's `Tracking`, of which the trainer hears when it has logged a step."""

    def __init__(self, tracking: Any, then: Callable[[], None]):
        self._tracking, self._then = tracking, then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tracking, name)

    def log(self, *args, **kwargs) -> None:
        """Log, then tell."""
        self._tracking.log(*args, **kwargs)
        self._then()

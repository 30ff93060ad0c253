"""What a run's folder keeps, whichever of verl's trainers runs: metrics, checkpoints, the best of them, dumps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig, open_dict

from cppo_verl.algorithm.metrics import Outcomes
from cppo_verl.runs.best import BestCheckpoint
from cppo_verl.runs.checkpoints import Checkpoints
from cppo_verl.runs.files import keep_latest, write_whole
from cppo_verl.runs.identity import write_identity
from cppo_verl.runs.metrics_log import MetricsLog, log_validation
from cppo_verl.runs.notices import notice
from cppo_verl.trainer.rows import num_questions

STEP_METRICS = "metrics.json"
"""In a checkpoint: what its step logs, as far as it was known when it was saved."""
OUTCOMES = "outcomes.json"
"""In a checkpoint: the words by which the run counts outcomes, so that it goes on with the same curves."""


class RunFolder:
    """A mixin over verl's trainers, V0 and V1.

    It needs of the trainer `config`, `cppo`, `global_steps`, `logger` and `metrics` (those of the running step), and
    overrides what reads or writes the run's folder. It keeps the run's `outcomes`. A trainer calls `_open_run_folder`
    before verl's `__init__`, and `_continue_log` (again is harmless) when its logger is there and a checkpoint, if any,
    is loaded.
    """

    of_part = False
    """Whether the next validation is of a part of the questions (see `part_validation`)."""

    def _open_run_folder(self, config: DictConfig) -> None:
        trainer = config.trainer
        if trainer.val_only:
            log = log_validation(trainer.default_local_dir)
            notice(f"only validates; the metrics go to {log}")
            if trainer.validation_data_dir:
                trainer.validation_data_dir = f"{trainer.validation_data_dir}/{log.stem}"
        else:
            self.metrics_log = MetricsLog(trainer.default_local_dir)
        self.unlogged: dict[str, float] = {}
        """Metrics of the step that the run goes on from, where a kill came before they were logged."""
        self.outcomes = Outcomes()
        self.best = BestCheckpoint(trainer.default_local_dir)
        self.checkpoints = Checkpoints(trainer.default_local_dir, trainer.max_actor_ckpt_to_keep)
        with open_dict(config):  # verl deletes the old weights of each model before the new checkpoint is complete
            trainer.max_actor_ckpt_to_keep = trainer.max_critic_ckpt_to_keep = None

    def _save_checkpoint(self) -> None:
        with self.checkpoints.saving(self.global_steps) as folder:
            super()._save_checkpoint()
            write_whole(folder / STEP_METRICS, json.dumps(self.metrics, default=float))
            write_whole(folder / OUTCOMES, json.dumps(self.outcomes.words))
            write_identity(folder, self.config)

    def _load_checkpoint(self) -> None:
        """As verl, but only what is complete; what the run did after a step it is told to go on from is kept apart."""
        trainer = self.config.trainer
        if trainer.val_only:
            self._choose_checkpoint()
            return super()._load_checkpoint()
        if trainer.resume_mode == "auto":
            self.checkpoints.recover()
        super()._load_checkpoint()
        goes_back = trainer.resume_mode != "auto"
        if goes_back:
            self.checkpoints.go_back_to(self.global_steps)
        self.best.forget_after(self.global_steps)
        is_logged = self.metrics_log.keep_until(self.global_steps, goes_back) or "file" not in trainer.logger
        if self.global_steps:
            self._find_unlogged(is_logged)
            self._take_outcomes()

    def _choose_checkpoint(self) -> None:
        """For a validation alone, which changes nothing of a run: the checkpoint that a start would go on from, by its
        path, without mending the folder or verl's tracker."""
        trainer = self.config.trainer
        if trainer.resume_mode == "auto":
            last = self.checkpoints.last_complete()
            trainer.resume_mode, trainer.resume_from_path = ("resume_path", str(last)) if last else ("disable", None)

    def _find_unlogged(self, is_logged: bool) -> None:
        """Where a kill came between a step's checkpoint and its line: the line, and the validation if one was due.

        The line has the times up to the checkpoint. verl validates before training at every start, which would log
        the step that a run goes on from once more; it does so here only where that step has no line.
        """
        trainer, step = self.config.trainer, self.global_steps
        saved = self._loaded_folder() / STEP_METRICS
        if is_logged or trainer.resume_mode != "auto" or not saved.is_file():
            trainer.val_before_train = trainer.val_before_train and not is_logged
            return
        self.unlogged = json.loads(saved.read_text())
        self.of_part = self._part_is_due(step, self.unlogged)
        trainer.val_before_train = self.of_part or self._whole_is_due(step, self.unlogged)

    def _take_outcomes(self) -> None:
        """Those of the steps up to the checkpoint; one of an earlier version does not tell."""
        seen = self._loaded_folder() / OUTCOMES
        if seen.is_file():
            self.outcomes = Outcomes(json.loads(seen.read_text()))

    def _whole_is_due(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Whether verl validates after a step of these metrics."""
        every = self.config.trainer.test_freq
        return bool(every > 0 and (step % every == 0 or metrics["cppo/last_step"]))

    def _part_is_due(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Whether a part of the questions is validated after it."""
        return False

    def _continue_log(self) -> None:
        """Put the lines of earlier starts back into the log, and the one that is missing."""
        if self.config.trainer.val_only:
            return
        self.metrics_log.write_back(self.logger)
        if self.unlogged and not self.config.trainer.val_before_train:
            self.logger.log(data=self.unlogged, step=self.unlogged["training/global_step"])
            self.unlogged = {}

    def _loaded_folder(self) -> Path:
        """The checkpoint that the run goes on from."""
        trainer = self.config.trainer
        if trainer.resume_mode == "resume_path":
            return Path(trainer.resume_from_path)
        return Path(trainer.default_local_dir) / f"global_step_{self.global_steps}"

    def _validate(self, *args, **kwargs) -> dict[str, float]:
        metrics = self.unlogged | super()._validate(*args, **kwargs)
        self.unlogged = {}
        if self.of_part or not self.cppo.save_best or self.config.trainer.val_only:
            return metrics
        return metrics | self.best.offer(self.global_steps, metrics)

    def _val_metrics_update(self, data_sources, sample_uids, *args, **kwargs) -> dict[str, float]:
        """verl's validation metrics, and of how many questions each is: no interval without that."""
        metrics = super()._val_metrics_update(data_sources, sample_uids, *args, **kwargs)
        return metrics | num_questions(data_sources, sample_uids)

    def _dump_generations(self, *args, dump_path: str, **kwargs) -> None:
        """verl's, and with `cppo.dumps_to_keep` the deletion of the oldest after it."""
        super()._dump_generations(*args, dump_path=dump_path, **kwargs)
        if self.cppo.dumps_to_keep:
            rotated = self._dump_executor.submit(
                keep_latest, Path(dump_path), self.cppo.dumps_to_keep, self.global_steps
            )
            self._dump_futures.append(rotated)

"""One run, from its folder alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cppo_verl.algorithm.errors import ConfigError, first_line
from cppo_verl.algorithm.metrics import UPDATES
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.rejection import LEFT_OUT
from cppo_verl.algorithm.step_plan import StepPlan
from cppo_verl.preflight.plan import plan_from_config
from cppo_verl.report.log import Log, read_log
from cppo_verl.report.split import Split
from cppo_verl.report.validations import curve, full, read_validations
from cppo_verl.runs.folder import CONFIG_FILE, METRICS_FILE

PEAK_MEMORY = r"perf/max_memory_allocated_gb$"
"""verl's columns of it, one a model that is trained; in GiB, whatever they are called."""

NEEDED = ("timing_s/step", "cppo/questions", "cppo/completions_kept", "cppo/sampled/reward")


class RunError(ConfigError):
    """A folder that nothing can be reported of; the message says why."""


@dataclass(frozen=True, eq=False)
class Run:
    """A run with at least one training step."""

    name: str
    folder: Path
    config: DictConfig
    cppo: CPPOConfig
    plan: StepPlan
    log: Log

    @cached_property
    def steps(self) -> pd.DataFrame:
        """The training steps; columns as logged."""
        return self.log.metrics[self.log.metrics[NEEDED[0]].notna()]

    @property
    def last_step(self) -> int:
        """The last training step that was logged."""
        return int(self.steps.index[-1])

    @property
    def planned_steps(self) -> int | None:
        """Steps that the run was to make; None in a run of an earlier version that was given no number."""
        logged = self.total("cppo/planned_steps")
        return int(self.steps["cppo/planned_steps"].iloc[-1]) if logged else self.config.trainer.total_training_steps

    @property
    def finished(self) -> bool:
        """It came to its end: to the planned steps, or, in a run of an earlier version, to the end of its data."""
        ended = self.total("cppo/last_step")
        return bool(ended) or (self.planned_steps is not None and self.last_step >= self.planned_steps)

    @property
    def seconds(self) -> float:
        """Generation and training, without validation and checkpoints (the paper's "time")."""
        return self.steps["timing_s/step"].sum()

    @cached_property
    def validations(self) -> pd.DataFrame:
        """See `read_validations`."""
        return read_validations(self.log.metrics)

    @property
    def accuracy(self) -> pd.Series:
        """Share of all validation questions answered right, by step, where it was measured.

        Over several data sources it is that of all their questions, or, where their numbers were not logged,
        the mean of the sources'.
        """
        return full(self.validations)["accuracy"]

    @property
    def num_questions(self) -> int | None:
        """Questions that were validated on; None in a run of an earlier version, which did not log it."""
        counts = full(self.validations)["questions"]
        return None if counts.isna().all() else int(counts.dropna().iloc[-1])

    def phases(self) -> dict[str, float]:
        """Seconds by phase; they add up to `seconds`."""
        return dict(Split.of(self.steps).seconds)

    def total(self, column: str) -> float | None:
        """Sum of a metric over the training steps; None where it was not logged."""
        return self.steps[column].sum() if column in self.steps and self.steps[column].notna().any() else None

    def mean(self, column: str) -> float | None:
        """Mean of a metric over the training steps that have it; None where it was not logged."""
        return None if self.total(column) is None else self.steps[column].mean()

    def mean_over_time(self, column: str) -> float | None:
        """Mean of a share or a rate over the steps that have it, weighted by their time; None where it was not
        logged."""
        if self.total(column) is None:
            return None
        seconds = self.steps["timing_s/step"].where(self.steps[column].notna())
        return (self.steps[column] * seconds).sum() / seconds.sum()

    def highest(self, column: str) -> float:
        """Largest value of a metric over the training steps; NaN where it was not logged."""
        return self.steps[column].max() if column in self.steps else np.nan

    @property
    def peak_memory(self) -> float:
        """GiB that the training process of a device had allocated at the most; NaN where it was not logged.

        On the CPU what of its memory was resident, the interpreter and the libraries with it.
        """
        return self.steps.filter(regex=PEAK_MEMORY).max().max()

    def updates(self) -> pd.Series:
        """Optimiser updates by training step, as logged; of an earlier version, which did not, those of one cycle: the
        mini-batches that `StepPlan.trim` makes, times the PPO epochs."""
        kept = self.steps["cppo/completions_kept"]
        mini_batches = -(-kept // self.plan.mini_batch_rows)
        if LEFT_OUT in self.steps:
            mini_batches = mini_batches.where(self.steps[LEFT_OUT].fillna(0) == 0, 0)
        reckoned = mini_batches * self.config.actor_rollout_ref.actor.ppo_epochs
        return self.steps[UPDATES].fillna(reckoned) if UPDATES in self.steps else reckoned

    def curves(self) -> pd.DataFrame:
        """Cumulative `questions`, `updates` and `seconds`, mean `reward` of all sampled completions, `accuracy`.

        A row a step; step 0, before training, is the origin. Where a subset of the questions was asked in between, the
        accuracy is that of the subset (`validations.curve`).
        """
        curves = pd.DataFrame(
            {
                "questions": self.steps["cppo/questions"].cumsum(),
                "updates": self.updates().cumsum(),
                "seconds": self.steps["timing_s/step"].cumsum(),
                "reward": self.steps["cppo/sampled/reward"],
            }
        )
        curves = pd.concat([pd.DataFrame(0.0, [0], ["questions", "updates", "seconds"]), curves])
        measured = curve(self.validations)["accuracy"]
        return curves.assign(accuracy=measured.reindex(curves.index)).rename_axis("step")


def read_run(folder: Path, name: str | None = None) -> Run:
    """Read a run folder: `config.yaml` and `metrics.jsonl`; the folder's name is the run's unless one is given.

    Raises:
        RunError: One of the two is missing or not that of a run, or there is no training step yet.
    """
    for file in (CONFIG_FILE, METRICS_FILE):
        if not (folder / file).is_file():
            raise RunError(f"{folder}: there is no {file}; is this the folder of a run that has started?")
    try:
        config = OmegaConf.load(folder / CONFIG_FILE)
        OmegaConf.set_struct(config, True)
        cppo, plan = CPPOConfig.from_mapping(config.cppo), plan_from_config(config)
    except (OmegaConfBaseException, yaml.YAMLError, ConfigError, AttributeError, TypeError) as error:
        raise RunError(f"{folder}: {CONFIG_FILE} is not that of a run: {first_line(error)}") from error
    log = read_log(folder)
    if NEEDED[0] not in log.metrics:
        raise RunError(f"{folder}: no training step in {METRICS_FILE} yet")
    if lacking := [column for column in NEEDED if column not in log.metrics]:
        raise RunError(f"{folder}: {METRICS_FILE} has no {', '.join(lacking)}; is it of RayCPPOTrainer?")
    return Run(name or folder.resolve().name, folder, config, cppo, plan, log)

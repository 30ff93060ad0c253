"""What a run's folder tells about it: accuracy before and after, time, where the time went."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from cppo_verl.config import CPPOConfig
from cppo_verl.planning import StepPlan
from cppo_verl.preflight import CONFIG_FILE
from cppo_verl.trainer.checks import plan_from_config
from cppo_verl.trainer.metrics_log import METRICS_FILE

PHASES = {
    "generation": ("gen",),
    "advantage + prune": ("reward", "adv", "prune"),
    "old log-prob": ("old_log_prob",),
    "ref log-prob": ("ref",),
    "update": ("update_actor",),
    "weight sync": ("update_weights",),
}
"""Column of the table to the timers of a step it adds up; the rest of the step is `other`."""


@dataclass(frozen=True)
class RunSummary:
    """One run, from its folder alone."""

    name: str
    method: str
    """GRPO or CPPO."""
    plan: StepPlan
    pruning_rate: float
    metrics: pd.DataFrame
    """A row a step, columns as logged; step 0 holds the validation before training."""

    @property
    def steps(self) -> pd.DataFrame:
        """The training steps."""
        return self.metrics[self.metrics.index > 0]

    @property
    def seconds(self) -> float:
        """Generation and training, without validation and checkpoints (the paper's "time")."""
        return self.steps["timing_s/step"].sum()

    @property
    def accuracies(self) -> pd.Series:
        """Greedy test accuracy by step, where it was measured."""
        columns = [c for c in self.metrics if c.startswith("val-core/") and "/acc/mean@" in c]
        return self.metrics[columns].mean(axis=1).dropna()

    def phases(self) -> dict[str, float]:
        """Seconds by phase; they add up to `seconds`."""
        totals = {
            phase: sum(self.steps[f"timing_s/{t}"].sum() for t in timers if f"timing_s/{t}" in self.steps)
            for phase, timers in PHASES.items()
        }
        return totals | {"other": self.seconds - sum(totals.values())}


def read_run(folder: Path) -> RunSummary:
    """Read a run folder (`config.yaml`, `metrics.jsonl`); an unfinished last line is passed over."""
    config = OmegaConf.load(folder / CONFIG_FILE)
    rate = CPPOConfig.from_mapping(config.cppo).rate
    return RunSummary(
        name=folder.name,
        method="CPPO" if rate else "GRPO",
        plan=plan_from_config(config),
        pruning_rate=float(rate),
        metrics=read_metrics(folder),
    )


def read_metrics(folder: Path) -> pd.DataFrame:
    """The logged metrics, a row a step; a resumed run's validation before training is merged into its step."""
    steps: dict[int, dict] = {}
    for line in (folder / METRICS_FILE).read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            entry = json.loads(line)
            steps.setdefault(entry["step"], {}).update(entry["data"])
    return pd.DataFrame(steps).T.infer_objects()


def comparison(runs: Sequence[RunSummary]) -> pd.DataFrame:
    """The paper's table, of these runs; the ratio is to the first."""
    return pd.DataFrame(
        {
            "method": run.method,
            "G": run.plan.rollout_n,
            "P": f"{run.pruning_rate:g}",
            "k": run.plan.keep,
            "questions": int(run.steps["cppo/questions"].sum()),
            "steps": len(run.steps),
            "accuracy before": f"{100 * run.accuracies.iloc[0]:.1f} %",
            "accuracy after": f"{100 * run.accuracies.iloc[-1]:.1f} %",
            "time (s)": f"{run.seconds:.1f}",
            "ratio": f"{runs[0].seconds / run.seconds:.2f}x",
        }
        for run in runs
    )


def time_split(runs: Sequence[RunSummary]) -> pd.DataFrame:
    """Seconds by phase, a row a run."""
    return pd.DataFrame([{"run": run.name} | {k: f"{v:.1f}" for k, v in run.phases().items()} for run in runs])


def bound(grpo: RunSummary, pruning_rate: float) -> float:
    """How much faster an epoch gets at P if only what pruning shrinks does: (g + t) / (g + t (1 - P)).

    From GRPO's measured split: t is the old and reference log-probs and the update, g all the rest. More
    questions a step can make generation itself cheaper, which this leaves out.
    """
    phases = grpo.phases()
    t = sum(phases[phase] for phase in ("old log-prob", "ref log-prob", "update"))
    return grpo.seconds / (grpo.seconds - t * pruning_rate)

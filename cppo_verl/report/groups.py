"""Runs that differ only by seed are one row of the tables and one line of the plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.report.runs import Run

SEEDS = ("seed", "rollout_seed", "data_loader_seed")
PLACES = ("experiment_name", "default_local_dir")
"""Last parts of the config keys in which two runs of the same experiment may differ."""


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one config, but for the seeds, the name and the folder."""

    label: str
    """Short, and unlike that of any other group of the report."""

    runs: tuple[Run, ...]

    @cached_property
    def furthest(self) -> tuple[Run, ...]:
        """The runs whose totals can be averaged: all that came to their end, or, before any has, the longest."""
        last = max(run.last_step for run in self.runs)
        finished = tuple(run for run in self.runs if run.finished)
        return finished or tuple(run for run in self.runs if run.last_step == last)

    @property
    def first(self) -> Run:
        """Stands for the config of all."""
        return self.runs[0]

    @property
    def rate(self) -> float:
        """P."""
        return float(self.first.cppo.rate)

    def mean(self, of: Callable[[Run], float | None]) -> float:
        """Mean of a number over the `furthest` runs; NaN where one does not have it."""
        values = [of(run) for run in self.furthest]
        return float(np.mean([np.nan if value is None else value for value in values]))

    def total(self, column: str) -> float:
        """Mean over the runs of a metric's sum over the steps."""
        return self.mean(lambda run: run.total(column))

    def phases(self) -> pd.Series:
        """Mean over the runs of the seconds by phase."""
        return pd.DataFrame([run.phases() for run in self.furthest]).mean()

    def curves(self) -> pd.DataFrame:
        """The runs' curves, indexed by run and step, as far as every run got."""
        last = min(run.last_step for run in self.runs)
        return pd.concat({run.name: run.curves().loc[:last] for run in self.runs}, names=["run"])


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Runs by config, in the order in which they were given."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(str(sorted(settings(run).items())), []).append(run)
    found = [Group("", tuple(members)) for members in groups.values()]
    several_n = len({group.first.plan.rollout_n for group in found}) > 1
    labels = [_label(group.first, several_n) for group in found]
    counts = Counter(labels)
    return [
        replace(group, label=label if counts[label] == 1 else f"{label} ({group.first.name})")
        for group, label in zip(found, labels, strict=True)
    ]


def settings(run: Run) -> dict[str, Any]:
    """A run's config, flat, without the seeds, its name and its folder; paths below the folder are relative."""
    folder = str(run.config.trainer.default_local_dir)
    flat = _flat(OmegaConf.to_container(run.config, resolve=False), "")
    return {
        key: value.replace(folder, "RUN") if isinstance(value, str) else value
        for key, value in flat
        if key.rpartition(".")[2] not in SEEDS + PLACES
    }


def seeds(run: Run) -> tuple[tuple[str, Any], ...]:
    """A run's seeds."""
    flat = _flat(OmegaConf.to_container(run.config, resolve=False), "")
    return tuple((key, value) for key, value in flat if key.rpartition(".")[2] in SEEDS)


def method(run: Run) -> str:
    """What the paper calls it; "pruning only" is without allocation (Table 5)."""
    cppo = run.cppo
    if not cppo.rate:
        return "PPO" if OmegaConf.select(run.config, "critic.enable") else "GRPO"
    return "CPPO" if cppo.allocation else "CPPO, pruning only"


def options(run: Run) -> str:
    """The options in which a method is not the paper's, and which of verl's trainers it ran on, unless V0."""
    cppo = run.cppo
    of_pruning = ("metric", "scope", *(("mini_batch", "lr_scale") if cppo.allocation else ()))
    relevant = (*(of_pruning if cppo.rate else ()), "zero_variance", "skip_old_log_prob")
    unlike = {name: getattr(cppo, name) for name in relevant if getattr(cppo, name) != getattr(CPPOConfig, name)}
    return ", ".join([*trainer(run), *(f"{name}={value}" for name, value in unlike.items())])


def trainer(run: Run) -> list[str]:
    """`V1` and its mode, of a run on verl's V1 trainers."""
    options = run.config.trainer
    return [f"V1 {options.v1.trainer_mode.removeprefix('cppo_')}"] if options.get("use_v1") else []


def _label(run: Run, with_n: bool) -> str:
    parts = [method(run)]
    parts += [f"P={float(run.cppo.rate):g}"] if run.cppo.rate else []
    parts += [f"G={run.plan.rollout_n}"] if with_n else []
    return ", ".join(filter(None, [*parts, options(run)]))


def _flat(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(node, dict | list):
        yield prefix, node
        return
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))

"""Time to accuracy: how soon each method reaches a target accuracy, and how much sooner than the first one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cppo_verl.report import stats
from cppo_verl.report.groups import Group
from cppo_verl.report.runs import Run

SHARE_OF_END = 0.95
"""The default target is this share of what the first row ends at."""

COSTS = ("seconds", "questions", "updates")
"""What it takes to reach the target: the columns of `Run.curves` that only grow."""


def first_crossing(cost: Sequence[float], accuracy: Sequence[float], target: float) -> float:
    """Cost at which the accuracy first reaches the target, on straight lines between the validations.

    Args:
        cost: `(num_validations,)`, growing; 0 for a validation before training.
        accuracy: `(num_validations,)`, shares.
        target: A share.

    Returns:
        Infinity where it is never reached, NaN without any validation. Where the first validation is there already, its
        own cost: a run that was not validated before training may have been there sooner.
    """
    accuracy = np.asarray(accuracy, float)
    if not len(accuracy):
        return np.nan
    reached = np.flatnonzero(accuracy >= target)
    if not len(reached):
        return np.inf
    after = reached[0]
    if after == 0:
        return float(cost[0])
    share = (target - accuracy[after - 1]) / (accuracy[after] - accuracy[after - 1])
    return float(cost[after - 1] + share * (cost[after] - cost[after - 1]))


def default_target(groups: Sequence[Group]) -> float:
    """`SHARE_OF_END` of the accuracy at which the first row's curve ends, mean over its runs; NaN without one."""
    ends = [curve["accuracy"].iloc[-1] for run in groups[0].furthest if len(curve := validated(run))]
    return SHARE_OF_END * float(np.mean(ends)) if ends else np.nan


def validated(run: Run) -> pd.DataFrame:
    """The points of a run's curve at which its accuracy was measured."""
    return run.curves().dropna(subset="accuracy")


def to_target(groups: Sequence[Group], target: float) -> pd.DataFrame:
    """What each row takes to reach the target: medians over its runs, with 95 % intervals over the seeds.

    A run that never reaches it counts as infinity, so that a median is infinite where half of the runs or more never
    do: a mean would be infinite with the first of them, or flatter the method if they were left out. `speed-up` is the
    first row's median time by the row's. `start` is the mean accuracy of the first validation.

    Args:
        groups: The report's rows; the first is what speed-ups are relative to.
        target: A share.
    """
    costs = [_costs(group, target) for group in groups]
    rows = [_row(group, target, own, costs[0]) for group, own in zip(groups, costs, strict=True)]
    return pd.DataFrame(rows)


def _costs(group: Group, target: float) -> pd.DataFrame:
    """A row a run, a column for each of the `COSTS`."""
    curves = [validated(run) for run in group.furthest]
    return pd.DataFrame([{x: first_crossing(c[x].array, c["accuracy"].array, target) for x in COSTS} for c in curves])


def _row(group: Group, target: float, own: pd.DataFrame, first: pd.DataFrame) -> dict[str, float | str]:
    curves = [validated(run) for run in group.furthest]
    starts = [curve["accuracy"].iloc[0] for curve in curves if len(curve)]
    row = {
        "label": group.label,
        "target": 100 * target,
        "runs": len(own),
        "reached": int(np.isfinite(own["seconds"]).sum()),
        "validations": min(map(len, curves)),
        "start": 100 * float(np.mean(starts)) if starts else np.nan,
    }
    for cost in COSTS:
        row |= named(cost, np.median(own[cost]), stats.median_interval(own[cost]))
    base, mine = first["seconds"], own["seconds"]
    interval = (np.nan, np.nan) if own is first else stats.speed_up_interval(base, mine)
    return row | named("speed-up", 1.0 if own is first else stats.speed_up(base, mine), interval)


def named(name: str, value: float, interval: tuple[float, float]) -> dict[str, float]:
    """Three columns: of a value and of its interval."""
    return {name: float(value), f"{name} low": interval[0], f"{name} high": interval[1]}

"""Accuracy at equal cost: where each method is when the first has spent a share of its time, or of its questions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cppo_verl.report import stats
from cppo_verl.report.groups import Group
from cppo_verl.report.runs import Run
from cppo_verl.report.target import named, validated

SHARES = (0.25, 0.5, 1.0)
"""Of what the first row's runs cost in the mean."""
COSTS = ("seconds", "questions")


def equal_cost(groups: Sequence[Group]) -> pd.DataFrame:
    """A row for each cost, share and group: mean accuracy over the runs in per cent, with Student's 95 % interval.

    Accuracies are on straight lines between the validations. `ended` says that the group's runs were over before in the
    mean: theirs is then the accuracy that they ended at. Empty where a run was validated less than twice: a curve has
    two points at least; and where the first group has cost nothing yet.
    """
    curves = [[validated(run) for run in group.furthest] for group in groups]
    if min(len(curve) for of_group in curves for curve in of_group) < 2:
        return pd.DataFrame()
    rows = []
    for cost in COSTS:
        totals = [group.mean(lambda run, cost=cost: _spent(run, cost)) for group in groups]
        whole = totals[0]
        for share in SHARES if whole > 0 else ():
            for group, own, total in zip(groups, curves, totals, strict=True):
                there = [np.interp(share * whole, curve[cost], curve["accuracy"]) for curve in own]
                ended = total < share * whole * (1 - 1e-9)
                row = {"label": group.label, "cost": cost, "share": share, "spent": share * whole, "ended": ended}
                rows.append(row | named("accuracy", 100 * np.mean(there), _interval(there)))
    return pd.DataFrame(rows)


def _spent(run: Run, cost: str) -> float:
    return float(run.curves()[cost].iloc[-1])


def _interval(shares: Sequence[float]) -> tuple[float, float]:
    if len(shares) < stats.MIN_SEEDS:
        return stats.NO_INTERVAL
    low, high = stats.within_0_and_1(*stats.mean_interval(shares))
    return 100 * low, 100 * high

"""The lines of the report's pictures: of a row's runs their mean, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cppo_verl.evaluation.statistics import wilson
from cppo_verl.report.groups import Group
from cppo_verl.report.validations import curve

X_AXES = {
    "seconds": "time: generation + training (s)",
    "questions": "questions sampled",
    "updates": "optimiser steps (mini-batch updates)",
}
"""Column of a line to the label of its axis."""

SMOOTHING = 64, 1 / 20
"""The reward is averaged over so many questions, or this share of the longest run's, whichever is more."""


def accuracy_line(group: Group) -> pd.DataFrame:
    """Validation accuracy in per cent, a row a validation: the `X_AXES`, and `mean`, `low` and `high`.

    `low` and `high` are the lowest and the highest run's; of a single run the ends of Wilson's 95 % interval over the
    questions, NaN where their number is not known.
    """
    curves = group.curves().dropna(subset="accuracy")
    line = _line(curves.assign(accuracy=100 * curves["accuracy"]), "accuracy")
    if len(group.runs) > 1:
        return line
    asked = curve(group.first.validations)["questions"].reindex(line.index)
    intervals = [_wilson(share, total) for share, total in zip(line["mean"] / 100, asked, strict=True)]
    return line.assign(low=[100 * low for low, _ in intervals], high=[100 * high for _, high in intervals])


def reward_line(group: Group, window: int) -> pd.DataFrame:
    """Mean reward of all sampled completions over the last `window` questions, a row a step; as `accuracy_line`.

    A single run has no `low` and `high`.
    """
    curves = group.curves().drop(index=0, level="step")
    smoothed = smooth(curves["reward"].unstack("run"), group, window).stack().swaplevel()
    line = _line(curves.assign(reward=smoothed), "reward")
    return line if len(group.runs) > 1 else line.assign(low=np.nan, high=np.nan)


def smoothing(groups: Sequence[Group]) -> int:
    """Questions that rewards are averaged over, the same for every group."""
    least, share = SMOOTHING
    return max(least, round(share * max(group.total("cppo/questions") for group in groups)))


def smooth(by_step: pd.DataFrame | pd.Series, group: Group, questions: int) -> pd.DataFrame | pd.Series:
    """Mean over as many of the last steps as take so many questions."""
    steps = max(1, round(questions / group.first.plan.questions))
    return by_step.rolling(steps, min_periods=1).mean()


def _line(curves: pd.DataFrame, y: str) -> pd.DataFrame:
    by_step = curves.groupby("step")
    return by_step[[*X_AXES]].mean().assign(mean=by_step[y].mean(), low=by_step[y].min(), high=by_step[y].max())


def _wilson(share: float, total: float) -> tuple[float, float]:
    if not total > 0:  # not known
        return np.nan, np.nan
    interval = wilson(share * total, int(total))
    return interval.low, interval.high

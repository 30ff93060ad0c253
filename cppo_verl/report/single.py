"""What one more run of each row would give: means over the seeds, and the range in which a single run falls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cppo_verl.report import stats
from cppo_verl.report.groups import Group
from cppo_verl.report.runs import Run
from cppo_verl.report.tables import last_accuracy
from cppo_verl.report.target import first_crossing, named, validated


def single_run(groups: Sequence[Group], target: float) -> pd.DataFrame:
    """A row a group of `stats.MIN_SEEDS` runs or more: mean over the seeds and 95 % prediction interval.

    `accuracy` is in per cent, `seconds` of the whole run, `ratio` of the time per question to the first group's,
    `to target` the seconds until the accuracy reaches `target` (a share), NaN where a run never does, `speed-up` that
    of the first group by it. Means of the two ratios are geometric, as their intervals are of the logarithms.
    """
    rows = [_row(group, groups[0], target) for group in groups if len(group.furthest) >= stats.MIN_SEEDS]
    return pd.DataFrame(rows)


def _row(group: Group, first: Group, target: float) -> dict[str, float | str]:
    accuracies = [last_accuracy(run) for run in group.furthest]
    known = [np.nan if accuracy is None else accuracy for accuracy in accuracies]
    low, high = stats.within_0_and_1(*stats.prediction_interval(known))
    row = {"label": group.label, "runs": len(group.furthest)}
    row |= named("accuracy", 100 * np.mean(known), (100 * low, 100 * high))
    row |= _of_times("seconds", [run.seconds for run in group.furthest])
    row |= _ratio("ratio", [_per_question(run) for run in first.furthest], [_per_question(r) for r in group.furthest])
    reached = [[_seconds_to(run, target) for run in of.furthest] for of in (first, group)]
    return row | _of_times("to target", reached[1]) | _ratio("speed-up", *reached)


def _of_times(name: str, seconds: Sequence[float]) -> dict[str, float]:
    """On the logarithms, as no run takes less than no time."""
    if not np.isfinite(seconds).all() or min(seconds) <= 0:
        return named(name, np.nan, stats.NO_INTERVAL)
    low, high = np.exp(stats.prediction_interval(np.log(seconds)))
    return named(name, np.mean(seconds), (low, high))


def _ratio(name: str, base: Sequence[float], values: Sequence[float]) -> dict[str, float]:
    if base == values:  # the first group to itself
        return named(name, 1.0, stats.NO_INTERVAL)
    known = np.isfinite([*base, *values]).all() and min(*base, *values) > 0
    value = np.exp(np.mean(np.log(base)) - np.mean(np.log(values))) if known else np.nan
    return named(name, value, stats.ratio_prediction_interval(base, values))


def _per_question(run: Run) -> float:
    return run.seconds / run.total("cppo/questions")


def _seconds_to(run: Run, target: float) -> float:
    curve = validated(run)
    return first_crossing(curve["seconds"].array, curve["accuracy"].array, target)

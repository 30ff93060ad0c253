"""The statistics behind the report's numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from cppo_verl.evaluation.statistics import CONFIDENCE


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of the mean of two or more values."""
    sem = np.std(values, ddof=1) / np.sqrt(len(values))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * sem
    return float(np.mean(values) - half), float(np.mean(values) + half)


def bound(fixed: float, shrinking: float, pruning_rate: float) -> float:
    """How many times faster the same questions get if pruning shrinks what it can: (g + t) / (g + t (1 - P)).

    Args:
        fixed: g, seconds of GRPO that pruning leaves alone.
        shrinking: t, seconds of GRPO's old and reference log-probs and update.
        pruning_rate: P; 1 gives the limit if those cost nothing, (g + t) / g.
    """
    return (fixed + shrinking) / (fixed + shrinking * (1 - pruning_rate))

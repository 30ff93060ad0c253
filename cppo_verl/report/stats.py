"""The statistics behind the report's numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from cppo_verl.evaluation.statistics import CONFIDENCE, RESAMPLES

MIN_SEEDS = 3
"""Fewer make no interval: Student's of two reaches twelve standard errors to each side, a bootstrap's of two is the
two values."""

NO_INTERVAL = (np.nan, np.nan)
TAIL = (1 - CONFIDENCE) / 2


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of the mean of two or more values."""
    sem = np.std(values, ddof=1) / np.sqrt(len(values))
    half = stats.t.ppf(1 - TAIL, len(values) - 1) * sem
    return float(np.mean(values) - half), float(np.mean(values) + half)


def within_0_and_1(low: float, high: float) -> tuple[float, float]:
    """An interval of a share, cut at 0 and 1; NaN where it reaches over both and says nothing."""
    if np.isnan([low, high]).any() or (low <= 0 and high >= 1):
        return NO_INTERVAL
    return max(0.0, low), min(1.0, high)


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval over the seeds of their median, by the bootstrap; NaN for fewer than `MIN_SEEDS`.

    Of three seeds it reaches from the lowest to the highest, which holds the median of all seeds three times in four;
    of five 15 times in 16. Values may be infinite: quantiles are draws, never between two of them.
    """
    if len(values) < MIN_SEEDS or np.isnan(values).any():
        return NO_INTERVAL
    return _quantiles(_medians(np.asarray(values, float), np.random.default_rng(0)))


def speed_up(base: Sequence[float], values: Sequence[float]) -> float:
    """How many times sooner: the base's median by that of the values; NaN where that says nothing.

    Infinite where only the base never gets there, 0 where only the values never do.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.divide(np.median(base), np.median(values)))


def speed_up_interval(base: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """95 % interval over the seeds of `speed_up`, by the stratified bootstrap; NaN for fewer than `MIN_SEEDS` of one.

    As in rliable (Agarwal et al., arXiv 2108.13264) each stratum, here a method, is resampled by itself. Draws in which
    neither gets there say nothing and are left out.
    """
    if min(len(base), len(values)) < MIN_SEEDS or np.isnan([*base, *values]).any():
        return NO_INTERVAL
    rng = np.random.default_rng(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = _medians(np.asarray(base, float), rng) / _medians(np.asarray(values, float), rng)
    draws = draws[~np.isnan(draws)]
    return _quantiles(draws) if len(draws) else NO_INTERVAL


def _medians(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`(RESAMPLES,)`: medians of as many values, drawn with replacement."""
    return np.median(values[rng.integers(len(values), size=(RESAMPLES, len(values)))], axis=1)


def _quantiles(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(draws, [TAIL, 1 - TAIL], method="inverted_cdf")
    return float(low), float(high)


def prediction_interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % prediction interval: in which one more run falls; NaN for fewer than `MIN_SEEDS`.

    mean ± t s sqrt(1 + 1/n), with the t of n - 1 degrees of freedom.
    """
    if len(values) < MIN_SEEDS or not np.isfinite(values).all():
        return NO_INTERVAL
    n = len(values)
    half = stats.t.ppf(1 - TAIL, n - 1) * np.std(values, ddof=1) * np.sqrt(1 + 1 / n)
    return float(np.mean(values) - half), float(np.mean(values) + half)


def ratio_prediction_interval(base: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """95 % prediction interval of base / value for one more run of each; NaN as in `prediction_interval`.

    On the logarithms, so that it stays above 0, with Welch and Satterthwaite's degrees of freedom: the two may vary
    unlike each other.
    """
    sides = [np.asarray(side, float) for side in (base, values)]
    if any(len(side) < MIN_SEEDS or not np.isfinite(side).all() or (side <= 0).any() for side in sides):
        return NO_INTERVAL
    logs = [np.log(side) for side in sides]
    parts = [np.var(side, ddof=1) * (1 + 1 / len(side)) for side in logs]
    difference, variance = np.mean(logs[0]) - np.mean(logs[1]), sum(parts)
    if not variance:
        return float(np.exp(difference)), float(np.exp(difference))
    freedom = variance**2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, logs, strict=True))
    half = stats.t.ppf(1 - TAIL, freedom) * np.sqrt(variance)
    return float(np.exp(difference - half)), float(np.exp(difference + half))


def bound(fixed: float, shrinking: float, pruning_rate: float) -> float:
    """How many times faster the same questions get if pruning shrinks what it can: (g + t) / (g + t (1 - P)).

    Args:
        fixed: g, seconds of GRPO that pruning leaves alone.
        shrinking: t, seconds of GRPO's old and reference log-probs and update.
        pruning_rate: P; 1 gives the limit if those cost nothing, (g + t) / g.
    """
    return (fixed + shrinking) / (fixed + shrinking * (1 - pruning_rate))

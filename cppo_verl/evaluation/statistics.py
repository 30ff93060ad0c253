"""Accuracies with their uncertainty, and two models on the same questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a share, from 0 to 1, and how it was made."""

    low: float
    high: float
    method: str


def accuracy_interval(correct: np.ndarray) -> Interval:
    """95 % interval of the mean accuracy: Wilson's for one sample a question, else `mean_interval`.

    Args:
        correct: `(num_questions, num_samples)` of 0 and 1.
    """
    if correct.shape[1] == 1:
        return wilson(correct.sum(), len(correct))
    return mean_interval(correct.mean(axis=1), correct.shape[1])


def mean_interval(values: np.ndarray, samples: int = 1) -> Interval:
    """95 % interval of the mean of shares that several samples of each question gave.

    The samples of a question are not independent: a bootstrap (percentile, over questions). With few right (or few
    wrong) ones that is too narrow, and has no width where all questions agree: it is never narrower than Wilson's,
    over the samples as if they were independent, or over questions where all agree.

    Args:
        values: `(num_questions,)`, each from 0 to 1.
        samples: Of which each is the mean.
    """
    if np.ptp(values) == 0:
        return wilson(values.sum(), len(values))
    low, high = _bootstrap(values)
    least = wilson(values.sum() * samples, len(values) * samples)
    return Interval(min(low, least.low), max(high, least.high), "bootstrap over questions, Wilson at the least")


def wilson(successes: float, trials: int) -> Interval:
    """Wilson's score interval of `successes` in `trials`; a fractional count is rounded."""
    found = stats.binomtest(round(successes), trials).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(found.low), float(found.high), "Wilson")


def pass_at_k(correct: np.ndarray, k: int) -> np.ndarray:
    """`(num_questions,)`: the chance that of k samples one is right, 1 - C(n - c, k) / C(n, k).

    The unbiased estimate of Chen et al. (arXiv 2107.03374) from n samples of which c are right.

    Args:
        correct: `(num_questions, num_samples)` of 0 and 1.
        k: At most the number of samples.
    """
    n = correct.shape[1]
    return np.array([1 - comb(n - int(c), k) / comb(n, k) for c in correct.sum(axis=1)])


def majority_correct(answers: Sequence[str | None], correct: Sequence[bool]) -> float:
    """Whether the most frequent answer of one question's samples is right.

    Answers are one where they are written the same (`extract_answer`): to pool those that the scorer finds equal to
    the gold would let the gold vote. No answer is no vote; tied answers share the verdict.
    """
    verdicts: dict[str, list[bool]] = {}
    for answer, ok in zip(answers, correct, strict=True):
        if answer:
            verdicts.setdefault(answer, []).append(bool(ok))
    if not verdicts:
        return 0.0
    most = max(map(len, verdicts.values()))
    return float(np.mean([np.mean(found) for found in verdicts.values() if len(found) == most]))


@dataclass(frozen=True)
class Comparison:
    """Two models on the same questions; shares from 0 to 1."""

    questions: int
    accuracy_a: float
    accuracy_b: float
    interval: Interval
    """Of the difference b - a."""
    p_value: float
    test: str
    """Which test the p-value is of."""

    @property
    def difference(self) -> float:
        """By how much b is the more accurate."""
        return self.accuracy_b - self.accuracy_a


def compare(a: np.ndarray, b: np.ndarray) -> Comparison:
    """Compare two models question by question.

    For one sample a question the p-value is McNemar's exact test, and the interval its inverse: Clopper and Pearson's
    of b's share of the questions that only one of the two got right. For several the interval is a paired bootstrap
    over questions, and the p-value a paired permutation test of the mean difference (signs of the differences
    flipped); with few differing questions those two may disagree about 0.

    Args:
        a: `(num_questions, num_samples)` of 0 and 1, of the first model.
        b: The same questions in the same order, of the second; the number of samples may differ.

    Raises:
        ValueError: Not the same number of questions.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} questions: compare the same ones")
    difference = b.mean(axis=1) - a.mean(axis=1)
    single = a.shape[1] == b.shape[1] == 1
    return Comparison(
        questions=len(a),
        accuracy_a=float(a.mean()),
        accuracy_b=float(b.mean()),
        interval=_mcnemar_interval(difference) if single else _difference_interval(difference),
        p_value=mcnemar(a[:, 0], b[:, 0]) if single else _sign_flip_test(difference),
        test="McNemar, exact" if single else "paired permutation",
    )


def mcnemar(a: np.ndarray, b: np.ndarray) -> float:
    """Exact two-sided p-value from the questions that only one of the two got right."""
    only_a, only_b = int(np.sum((a == 1) & (b == 0))), int(np.sum((a == 0) & (b == 1)))
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def _mcnemar_interval(difference: np.ndarray) -> Interval:
    differ = int(np.abs(difference).sum())
    if not differ:
        return _difference_interval(difference)
    share = stats.binomtest(int((difference > 0).sum()), differ).proportion_ci(CONFIDENCE, method="exact")
    low, high = ((2 * bound - 1) * differ / len(difference) for bound in (share.low, share.high))
    return Interval(float(low), float(high), "McNemar, inverted")


def _difference_interval(difference: np.ndarray) -> Interval:
    if np.ptp(difference) == 0:  # no bootstrap has a width: as wide as Wilson's for the same shares apart
        value, rest = float(difference[0]), wilson(0, len(difference)).high
        return Interval(max(value - rest, -1.0), min(value + rest, 1.0), "Wilson, every question differs by as much")
    return Interval(*_bootstrap(difference), "paired bootstrap over questions")


def _bootstrap(values: np.ndarray) -> tuple[float, float]:
    """Percentile interval of the mean; the same every time."""
    result = stats.bootstrap(
        (values,), np.mean, confidence_level=CONFIDENCE, n_resamples=RESAMPLES, method="percentile", rng=0
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _sign_flip_test(difference: np.ndarray) -> float:
    differing = difference[difference != 0]  # a flipped 0 changes nothing; few others are tested exactly
    if len(differing) < 2:
        return 1.0
    result = stats.permutation_test(
        (differing,), np.mean, permutation_type="samples", vectorized=True, n_resamples=RESAMPLES, rng=0
    )
    return float(result.pvalue)

"""Which completions of a batch are kept: the pruning rule of CPPO (paper Eq. 8-9) and its variants.

Invariants (tests/algorithm/test_pruning.py): the result is an ascending subset of the input rows; with
`scope="question"` each question keeps exactly `keep` rows; permuting the rows together with their ids
permutes the choice; keeping all G is the identity. With `metric="unbiased"` what is kept is to be weighted, by
`importance_weights`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import get_args

import numpy as np
import pandas as pd
import torch

from cppo_verl.algorithm.lots import as_array, group_lots, mix, seeded, tie_keys
from cppo_verl.algorithm.options import Metric, Scope, ZeroVariance
from cppo_verl.algorithm.unbiased import draw, inclusion_probabilities


def select_completions(
    advantages: torch.Tensor,
    groups: Sequence[Hashable] | np.ndarray | torch.Tensor,
    keep: int,
    *,
    metric: Metric = "smallest",
    scope: Scope = "question",
    zero_variance: ZeroVariance = "keep",
    seed: int = 0,
    row_ids: Sequence[Hashable] | np.ndarray | torch.Tensor | None = None,
) -> torch.Tensor:
    """Choose the completions to train on.

    Args:
        advantages: Float tensor `(num_rows,)`, one advantage a completion (paper Eq. 2).
        groups: One hashable question id a row, in any order.
        keep: k, completions kept a question.
        metric: What is pruned; see `CPPOConfig.metric`.
        scope: `question`: top-k within each question (Eq. 8). `batch`: the authors' pooled top-k, which
            keeps `keep` times the number of questions rows of the whole batch.
        zero_variance: `drop` leaves out questions whose advantages are all equal.
        seed: Seeds the breaking of ties.
        row_ids: One hashable id a row for breaking ties; the row's position where none are given.

    Returns:
        Kept row indices, ascending, LongTensor `(num_kept,)`.

    Raises:
        ValueError: Lengths differ, an advantage is not finite, a question has fewer than `keep` rows, or an
            option is not one of its choices.
    """
    values = advantages.detach().double().cpu().numpy()
    _check_rows(values, groups, row_ids)
    _check_options(keep=keep, metric=metric, scope=scope, zero_variance=zero_variance)
    codes = pd.factorize(as_array(groups), use_na_sentinel=False)[0]
    rows = np.arange(len(values))
    keys = seeded(rows.astype(np.uint64), seed) if row_ids is None else tie_keys(row_ids, seed)
    if zero_variance == "drop":
        rows = rows[~zero_variance_rows(values, codes)]
    if scope == "batch":
        keep, codes = keep * len(np.unique(codes[rows])), np.zeros_like(codes)
    order, starts, sizes = _ranked(_badness(_rounded(values), metric, codes, keys)[rows], codes[rows], keys[rows])
    if (sizes < keep).any():
        raise ValueError(f"a question has {sizes.min()} completions, fewer than the {keep} to keep")
    rows = rows[order]
    if metric == "max_variance":
        kept = _largest_variance(values[rows], keys[rows], starts, sizes, keep)
    elif metric == "unbiased":
        chances = inclusion_probabilities(values[rows], starts, sizes, keep)
        kept = draw(chances, starts, sizes, group_lots(keys[rows], starts))
    else:
        kept = np.arange(len(rows)) - np.repeat(starts, sizes) < keep
    return torch.from_numpy(np.sort(rows[kept]))


def select_pooled(
    advantages: torch.Tensor,
    groups: Sequence[Hashable] | np.ndarray | torch.Tensor,
    number: int,
    row_ids: Sequence[Hashable] | np.ndarray | torch.Tensor,
    *,
    metric: Metric = "smallest",
    seed: int = 0,
) -> torch.Tensor:
    """Choose among rows that were kept already where not all of them can be trained on: by the same rule, whatever
    their question.

    Args:
        advantages: `(num_rows,)`, as they were pruned by.
        groups: Question id of each row.
        number: Rows wanted; at most as many as there are.
        row_ids: Id of each row, for breaking ties.
        metric: What is left out first; with `unbiased`, which no |A| may decide, by lot.
        seed: Seeds the breaking of ties.

    Returns:
        Row indices, ascending, LongTensor `(number,)`.
    """
    if number in (0, len(advantages)):
        return torch.arange(number)
    if metric == "max_variance":
        pool = np.zeros(len(advantages), dtype=int)
        return select_completions(advantages, pool, number, metric=metric, seed=seed, row_ids=row_ids)
    if metric == "unbiased":
        metric, seed = "random", seed + 1  # other lots than the draw's
    values, keys = advantages.detach().double().cpu().numpy(), tie_keys(row_ids, seed)
    codes = pd.factorize(as_array(groups), use_na_sentinel=False)[0]
    order = np.lexsort((keys, _badness(_rounded(values), metric, codes, keys)))
    return torch.from_numpy(np.sort(order[:number]))


def _rounded(values: np.ndarray) -> np.ndarray:
    """To 18 significant bits, so that float32 rounding of equal |A| does not decide what is a tie."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * 2**18) / 2**18, exponent)


def zero_variance_rows(advantages: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Rows `(num_rows,)` bool of questions whose completions all have the same advantage.

    Equal rewards less their mean are equal floats whatever the rounding of that mean, so equality is
    exact where a comparison with zero would not be.
    """
    values, index = torch.from_numpy(advantages), torch.from_numpy(codes).long()
    extremes = values.new_zeros(int(codes.max(initial=-1)) + 1)
    top = extremes.scatter_reduce(0, index, values, "amax", include_self=False)
    low = extremes.scatter_reduce(0, index, values, "amin", include_self=False)
    return (top == low)[index].numpy()


def _badness(values: np.ndarray, metric: Metric, codes: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """What rows are ranked by, the first to keep first; for `max_variance` and `unbiased`, their ascending order."""
    return {
        "smallest": lambda: -np.abs(values),
        "largest": lambda: np.abs(values),
        "smallest_raw": lambda: -values,
        "largest_raw": lambda: values,
        "random": lambda: np.zeros_like(values),
        "max_variance": lambda: values,
        "distinct": lambda: _distinct_first(values, codes, keys),
        "unbiased": lambda: values,
    }[metric]()


def _distinct_first(values: np.ndarray, codes: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Ranks in which a row of each distinct value of its group, drawn by key, comes before all others; by |A| in both.

    The idea is FastRL's (arXiv 2609.36932): keep large advantages, and gradients that differ. Exactly k are kept here.
    """
    order = np.lexsort((keys, values, codes))
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (np.diff(codes[order]) != 0) | (np.diff(values[order]) != 0)
    rank = np.unique(-np.abs(values), return_inverse=True)[1]
    rank[order[is_first]] -= len(values)
    return rank


def _ranked(badness: np.ndarray, codes: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, ...]:
    """Rows sorted by (group, badness, key), with the start and the size of each group in that order."""
    order = np.lexsort((keys, badness, codes))
    _, starts, sizes = np.unique(codes[order], return_index=True, return_counts=True)
    return order, starts, sizes


def _largest_variance(
    values: np.ndarray, keys: np.ndarray, starts: np.ndarray, sizes: np.ndarray, keep: int
) -> np.ndarray:
    """Mask of the `keep`-subset of largest variance in each group of ascending `values`.

    PODS (arXiv 2504.13818) shows it to be the j largest and keep-j smallest for some j; prefix sums of
    both ends give the variance for every j at once. Equal variances are decided by the group's keys.
    """
    if not len(values):
        return np.zeros(0, dtype=bool)
    centred = values - np.repeat(np.add.reduceat(values, starts) / sizes, sizes)
    reach = np.arange(keep)
    low, high = centred[starts[:, None] + reach], centred[(starts + sizes - 1)[:, None] - reach]
    sums, squares = (_prefix(low**p)[:, ::-1] + _prefix(high**p) for p in (1, 2))
    variance = squares / keep - (sums / keep) ** 2
    best = variance >= variance.max(1, keepdims=True) - 1e-9 * np.maximum(squares.max(1, keepdims=True), 1e-30)
    lots = mix(np.bitwise_xor.reduceat(keys, starts)[:, None] + np.arange(keep + 1, dtype=np.uint64))
    num_high = np.where(best, lots, np.iinfo(np.uint64).max).argmin(1)
    place = np.arange(len(values)) - np.repeat(starts, sizes)
    return (place < np.repeat(keep - num_high, sizes)) | (place >= np.repeat(sizes - num_high, sizes))


def _prefix(matrix: np.ndarray) -> np.ndarray:
    return np.pad(np.cumsum(matrix, axis=1), ((0, 0), (1, 0)))


def _check_rows(values: np.ndarray, groups: Sequence, row_ids: Sequence | None) -> None:
    if values.ndim != 1:
        raise ValueError(f"advantages must be one a row, got shape {values.shape}")
    ids = values if row_ids is None else row_ids
    if not len(values) == len(groups) == len(ids):
        raise ValueError(f"{len(values)} advantages, {len(groups)} groups and {len(ids)} row ids must be as many")
    if not np.isfinite(values).all():
        raise ValueError(f"{(~np.isfinite(values)).sum()} of {len(values)} advantages are not finite")


def _check_options(keep: int, **options: str) -> None:
    if keep < 1:
        raise ValueError(f"keep={keep} must be at least 1")
    for (name, value), choices in zip(options.items(), (Metric, Scope, ZeroVariance), strict=True):
        if value not in get_args(choices):
            raise ValueError(f"{name}={value!r} is not one of {', '.join(get_args(choices))}")
    if options["metric"] == "unbiased" and options["scope"] == "batch":
        raise ValueError("metric='unbiased' draws within a question: scope must be 'question'")

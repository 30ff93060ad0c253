"""`metric=unbiased`: completions drawn by |A| and weighted, so that the expected gradient is that of all G.

Of a question's completions exactly k are kept, completion i with probability pi_i, and its advantage is multiplied by
w_i = k / (G pi_i). With s_i the mean over its tokens of what A_i multiplies in the loss (paper Eq. 9),

    E[ 1/k sum_{i kept} w_i A_i s_i ]  =  sum_i pi_i / k * k / (G pi_i) * A_i s_i  =  1/G sum_i A_i s_i

which is GRPO's, with GRPO's scale: the mini-batch's kept rows are the divisor of either sum. pi_i is proportional to
|A_i| and at most 1, which makes the variance small: where no pi_i is cut off at 1, all kept completions get an
advantage of the same size, the mean |A| of their question.

What is unbiased: the policy-gradient term, its clip included, because min(rho A, clip(rho) A) grows in proportion with
a positive factor of A. It is so at a policy that does not depend on the draw: in the first pass over a step's rows, if
its mini-batches hold different questions. A second pass (`ppo_epochs`) sees a policy that the same draw led to. What is
not: the KL term, the plain mean over the kept completions, which weighs those of large |A| more; and whatever comes
after the gradient, its clip by norm and the optimizer.

DPPO (arXiv 2603.04135) prunes completions of small |A|, and questions, corrects by importance sampling, and proves the
gradient unbiased for a loss without clip and KL, if each is kept with a probability above 0. Here every question keeps
exactly k, which ranks and mini-batches divide.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
import torch

from cppo_verl.algorithm.lots import as_array

CERTAIN = 1 - 1e-9
"""From here on a row counts as certain in `draw`; no other is then as long as points are apart, rounded or not."""
NEXT_TO_NOTHING = 1e-200
"""Counts as the |A| of completions whose A is 0."""


def importance_weights(
    advantages: torch.Tensor, groups: Sequence[Hashable] | np.ndarray | torch.Tensor, keep: int
) -> torch.Tensor:
    """What the advantages of kept completions are multiplied by.

    Args:
        advantages: Float tensor `(num_rows,)`, one advantage a completion, over all G of each question.
        groups: One hashable question id a row, in any order.
        keep: k, completions kept a question.

    Returns:
        w `(num_rows,)`, float64, above 0, of kept and pruned rows; 1 where A = 0, or is nothing beside the others.
    """
    values = advantages.detach().double().cpu().numpy()
    codes = pd.factorize(as_array(groups), use_na_sentinel=False)[0]
    order = np.argsort(codes, kind="stable")
    _, starts, sizes = np.unique(codes[order], return_index=True, return_counts=True)
    chances = np.empty_like(values)
    chances[order] = inclusion_probabilities(values[order], starts, sizes, keep)
    share = keep / np.repeat(sizes, sizes)[np.argsort(order)]
    counts = (values != 0) & (chances > 0)
    return torch.from_numpy(np.where(counts, share / np.where(counts, chances, 1.0), 1.0))


def inclusion_probabilities(values: np.ndarray, starts: np.ndarray, sizes: np.ndarray, keep: int) -> np.ndarray:
    """The probability with which each row is kept: in proportion to |A|, at most 1, their sum `keep` in each group.

    Rows of A = 0 share what the others leave: nothing, unless fewer than `keep` rows have another A.

    Args:
        values: Advantages `(num_rows,)`, group by group.
        starts: First row of each group.
        sizes: Rows of each group, at least `keep`.
        keep: Rows to keep of each group.
    """
    chances = np.empty_like(values)
    for size in np.unique(sizes):
        rows = starts[sizes == size][:, None] + np.arange(size)
        chances[rows] = _of_equal_groups(np.abs(values[rows]), keep)
    return chances


def _of_equal_groups(strength: np.ndarray, keep: int) -> np.ndarray:
    """The same for |A| `(groups, size)`.

    The c largest are certain, and the others share what is left, where c is the smallest for which none of the others
    would get more than 1.
    """
    size = strength.shape[1]
    if keep == size:
        return np.ones_like(strength)
    strength = np.where(strength == 0, NEXT_TO_NOTHING, strength)
    order = np.argsort(-strength, axis=1, kind="stable")
    largest_first = np.take_along_axis(strength, order, axis=1)
    rest = np.cumsum(largest_first[:, ::-1], axis=1)[:, ::-1]
    left = keep - np.arange(size)
    certain = (left * largest_first < rest).argmax(axis=1)[:, None]  # k at the most: there nothing is left
    shares = largest_first * left[certain] / np.take_along_axis(rest, certain, axis=1)
    chances = np.empty_like(strength)
    np.put_along_axis(chances, order, np.where(np.arange(size) < certain, 1.0, shares), axis=1)
    return chances


def draw(chances: np.ndarray, starts: np.ndarray, sizes: np.ndarray, lots: np.ndarray) -> np.ndarray:
    """Which rows are kept, exactly as many of each group as its probabilities add up to.

    Systematic sampling: the rows stand in a line, each as long as its probability, and one is kept for each of the
    points u, u+1, u+2, ... that falls on it. Rows sorted by A are so kept in about the same number on either side of 0.

    Args:
        chances: Probabilities `(num_rows,)`, group by group; those of a group add up to a whole number.
        starts: First row of each group.
        sizes: Rows of each group.
        lots: u of each group, from `group_lots`.

    Returns:
        Bool `(num_rows,)`.
    """
    kept = chances > CERTAIN
    lengths = np.where(kept, 0.0, chances)
    for size in np.unique(sizes):
        which = sizes == size
        rows = starts[which][:, None] + np.arange(size)
        ends = np.cumsum(lengths[rows], axis=1)
        last, points = ends[:, -1:], np.floor(ends[:, -1:] + 0.5)
        ends = np.where(ends < last, ends * points / np.where(last > 0, last, 1), points)  # to a whole number exactly
        met = np.ceil(np.pad(ends, ((0, 0), (1, 0))) - lots[which][:, None]).clip(min=0)
        kept[rows] |= np.diff(met, axis=1) > 0
    return kept

"""Lots: pseudo-random keys of rows, functions of id and seed alone, that decide where advantages do not."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
import torch


def tie_keys(row_ids: Sequence[Hashable] | np.ndarray | torch.Tensor, seed: int) -> np.ndarray:
    """A pseudo-random 64-bit key for each row id `(num_rows,)`: a function of id and seed alone."""
    names = np.array([str(row_id) for row_id in as_array(row_ids)], dtype=object)
    return seeded(pd.util.hash_array(names, categorize=False), seed)


def seeded(base: np.ndarray, seed: int) -> np.ndarray:
    """Mix a seed into 64-bit keys; the added constant keeps key and seed 0 from staying 0."""
    constant = 0x9E3779B97F4A7C15
    return mix(base ^ mix(np.array([(seed + constant) % 2**64], dtype=np.uint64)))


def mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: spreads every input bit over all 64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def group_lots(keys: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """A number in [0, 1) for each group of rows, from the keys of all of them; of 32 bits, so that sums are exact.

    Args:
        keys: 64-bit keys `(num_rows,)`, group by group.
        starts: First row of each group.
    """
    together = np.bitwise_xor.reduceat(keys, starts) if len(keys) else keys
    return (mix(together) >> np.uint64(32)) / 2.0**32


def as_array(ids: Sequence[Hashable] | np.ndarray | torch.Tensor) -> np.ndarray:
    """Ids of rows or groups as an array, whatever they come in."""
    if isinstance(ids, torch.Tensor):
        return ids.cpu().numpy()
    if isinstance(ids, np.ndarray):
        return ids
    array = np.empty(len(ids), dtype=object)
    array[:] = ids
    return array

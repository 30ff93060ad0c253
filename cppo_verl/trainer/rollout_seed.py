"""A sampling seed of its own for each request, so that a run samples the same completions again."""

from __future__ import annotations

import hashlib

import numpy as np

SEED_KEY = "rollout_seed"


def request_seeds(run_seed: int, row_ids: np.ndarray) -> np.ndarray:
    """Seeds `(num_rows,)`: 32 bits of a hash of the run's seed and the row's id (step, question, sample)."""
    digests = (hashlib.blake2b(f"{run_seed}:{row}".encode(), digest_size=4).digest() for row in row_ids)
    return np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.int64)

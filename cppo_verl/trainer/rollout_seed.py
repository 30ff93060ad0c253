"""A sampling seed of its own for each request, so that a run samples the same completions again."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import ray
from verl.experimental.agent_loop import AgentLoopManager, AgentLoopWorker

SEED_KEY = "rollout_seed"


def request_seeds(run_seed: int, row_ids: np.ndarray) -> np.ndarray:
    """Seeds `(num_rows,)`: 32 bits of a hash of the run's seed and the row's id (step, question, sample)."""
    digests = (hashlib.blake2b(f"{run_seed}:{row}".encode(), digest_size=4).digest() for row in row_ids)
    return np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.int64)


class SeededAgentLoopWorker(AgentLoopWorker):
    """Passes a row's seed, where it has one, to the engine as the request's seed."""

    async def _run_agent_loop(self, sampling_params: dict[str, Any], trajectory: dict[str, Any], **kwargs):
        seed = kwargs.pop(SEED_KEY, None)
        if seed is not None:
            sampling_params = {**sampling_params, "seed": int(seed)}
        return await super()._run_agent_loop(sampling_params, trajectory, **kwargs)


class SeededAgentLoopManager(AgentLoopManager):
    """verl's manager with the worker above; named by `rollout.agent.agent_loop_manager_class`."""

    def __init__(self, *args, **kwargs):
        self.agent_loop_workers_class = ray.remote(SeededAgentLoopWorker)
        super().__init__(*args, **kwargs)

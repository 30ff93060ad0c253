"""A sampling seed of its own for each request, so that a run samples the same completions again."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import wrapt

SEED_KEY = "rollout_seed"
_turns: ContextVar[Iterator[int]] = ContextVar("turns")
"""Of the completion whose task this is: numbers of the turns that are still to be sampled."""


def question_seeds(run_seed: int, uids: Sequence[str]) -> np.ndarray:
    """Seeds `(num_questions,)`; completion j of a question has the question's plus j.

    So does vLLM seed the samples of one request, and one of them can be asked again alone.
    """
    return np.array([hashed(run_seed, uid) for uid in uids], dtype=np.int64)


def hashed(seed: int, name: str) -> int:
    """32 bits that belong to the name under this seed."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=4).digest(), "little")


class SeededTurns:
    """A mixin over verl's agent-loop workers: of a completion of several turns, each is sampled with its own seed.

    verl 0.9.1 samples all turns of a completion by the same parameters, the seed among them.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.llm_client = ClientByTurns(self.llm_client)

    async def _run_agent_loop(self, sampling_params: dict[str, Any], trajectory: dict[str, Any], **kwargs):
        _turns.set(itertools.count())  # verl runs each completion in a task, and so a context, of its own
        return await super()._run_agent_loop(sampling_params, trajectory, **kwargs)


class ClientByTurns(wrapt.ObjectProxy):
    """verl's client of the rollout engines, which is asked turn by turn; a first turn has the completion's seed."""

    async def generate(self, request_id: str, *, sampling_params: dict[str, Any], **kwargs) -> Any:
        """As verl's."""
        turn = next(_turns.get(itertools.count()))
        if turn and "seed" in sampling_params:
            sampling_params = {**sampling_params, "seed": hashed(sampling_params["seed"], f"turn {turn}")}
        return await self.__wrapped__.generate(request_id, sampling_params=sampling_params, **kwargs)

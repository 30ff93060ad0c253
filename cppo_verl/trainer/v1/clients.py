"""verl's clients of the rollout engines: a meter of when something is sampled, and a bound to what is sent."""

from __future__ import annotations

import asyncio

from omegaconf import DictConfig
from verl.workers.rollout.llm_server import FullyAsyncLLMServerClient, LLMServerClient

from cppo_verl.trainer.v1.idle import Sampling


class _Metered:
    """A mixin over verl's clients, which every request passes through; each agent loop's process has one of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.sampling = Sampling()

    async def _acquire_server(self, *args, **kwargs):
        acquired = await super()._acquire_server(*args, **kwargs)
        self.sampling.begin()
        return acquired

    def _release_server(self, *args, **kwargs) -> None:
        self.sampling.end()
        super()._release_server(*args, **kwargs)


class MeteredClient(_Metered, LLMServerClient):
    """verl's client of the synchronous trainer."""


class _Bounded:
    """A mixin over the same: no more requests are sent than may be at the engines, the others wait here.

    For new weights verl 0.9.1 aborts only what is being sampled: until each request that it has sent has its first
    token, for a minute at the most, it waits, and one without a place in the engine has none.

    Args:
        places: Requests that this process may have at the engines; at least 1.
    """

    def __init__(self, *args, places: int, **kwargs):
        super().__init__(*args, **kwargs)
        self._places = asyncio.Semaphore(places)

    async def _acquire_server(self, *args, **kwargs):
        await self._places.acquire()
        try:
            return await super()._acquire_server(*args, **kwargs)
        except BaseException:  # also a cancellation: the place would be lost
            self._places.release()
            raise

    def _release_server(self, *args, **kwargs) -> None:
        self._places.release()
        super()._release_server(*args, **kwargs)


def places_each(rollout: DictConfig, engines: int) -> int:
    """Requests that each of the agent loops' processes may have at so many engines, which hold
    `rollout.max_num_seqs` each."""
    return max(rollout.max_num_seqs * engines // rollout.agent.num_workers, 1)


class MeteredAsyncClient(_Bounded, _Metered, FullyAsyncLLMServerClient):
    """verl's client of the asynchronous ones, which sends an aborted request again."""

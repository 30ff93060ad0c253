"""verl's clients of the rollout engines: a meter of when something is sampled, and a bound to what is sent."""

from __future__ import annotations

import asyncio

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
    """A mixin over the same: no more is asked for than may be at the engines, the rest waits here.

    For new weights verl 0.9.1 aborts only what is being sampled: until each request that it has sent has its first
    token, for a minute at the most, it waits, and one without a place in the engine has none.

    Args:
        places: Completions that this process may have sampled at a time; at least 1.
    """

    def __init__(self, *args, places: int, **kwargs):
        super().__init__(*args, **kwargs)
        self._places = Places(places)
        self._taken: dict[str, int] = {}

    async def _acquire_server(self, request_id: str, completions: int = 1, **kwargs):
        await self._places.take(completions)
        self._taken[request_id] = completions
        try:
            return await super()._acquire_server(request_id, **kwargs)
        except BaseException:  # also a cancellation: the place would be lost
            self._places.give(self._taken.pop(request_id))
            raise

    def _release_server(self, server_id: str, request_id: str) -> None:
        self._places.give(self._taken.pop(request_id))
        super()._release_server(server_id, request_id)


class Places:
    """Places at the engines, which are given to who has waited longest.

    Args:
        number: Of places.
    """

    def __init__(self, number: int):
        self._number = self._free = number
        self._turn, self._freed = asyncio.Lock(), asyncio.Event()

    async def take(self, wanted: int) -> None:
        """Wait for as many places; who wants more than there are waits for all."""
        async with self._turn:
            while self._free < min(wanted, self._number):
                self._freed.clear()
                await self._freed.wait()
            self._free -= min(wanted, self._number)

    def give(self, taken: int) -> None:
        """Give places back, as many as were wanted."""
        self._free += min(taken, self._number)
        self._freed.set()


class MeteredAsyncClient(_Bounded, _Metered, FullyAsyncLLMServerClient):
    """verl's client of the asynchronous ones, which sends an aborted request again."""

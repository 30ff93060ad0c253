"""Ends a run one of whose Ray actors has died.

verl 0.9.1 asks some of them over sockets, which a dead one does not answer: TransferQueue's controller and storage. It
waits for them for ever. A call to an actor over Ray, which all of them are, fails instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from threading import Thread
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayError

POLL_SECONDS = 5.0


class PartDied(RuntimeError):
    """An actor of a run is gone; the message says which, and what Ray says of it."""


def run_beside(work: Callable[[], Any], actors: Mapping[str, ActorHandle]) -> Any:
    """Run `work` to its end, or until an actor has died.

    Each actor always has one call to answer, however long it takes: a busy one is not taken for dead.

    Args:
        work: The training loop.
        actors: By what they are called in an error.

    Raises:
        PartDied: An actor died. `work` is left behind in a daemon thread: what it waits for may not come.
        Exception: Whatever `work` raised.
    """
    done: Future = Future()
    Thread(target=_settle, args=(done, work), daemon=True).start()
    calls = {actor.__ray_ready__.remote(): name for name, actor in actors.items()}
    while not wait([done], timeout=POLL_SECONDS).done:
        answered, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0) if calls else ([], [])
        for call in answered:
            name = calls.pop(call)
            died = _death(call)
            if died and not done.done():
                raise PartDied(f"{name}: {died}") from died
            if not died:
                calls[actors[name].__ray_ready__.remote()] = name
    return done.result()


def _settle(done: Future, work: Callable[[], Any]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:  # noqa: BLE001  (handed to the waiting thread, which raises it)
        done.set_exception(error)


def _death(call: ray.ObjectRef) -> ActorDiedError | None:
    """Of an answered call: its actor's, if it has died. Another error may pass, as where a node cannot be reached."""
    try:
        ray.get(call)
    except ActorDiedError as error:
        return error
    except RayError:
        return None
    return None

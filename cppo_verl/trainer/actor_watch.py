"""Ends a run one of whose Ray actors has died, or has fallen silent.

verl 0.9.1 asks some of them over sockets, which a dead one does not answer: TransferQueue's controller and storage. It
waits for them for ever. A call to an actor over Ray, which all of them are, fails instead. One that hangs answers
neither; it is told from a busy one where it has nothing to do but to answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, wait
from threading import Thread
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayError

from cppo_verl.trainer.watchdog import SILENCE_SECONDS

POLL_SECONDS = 5.0


class PartDied(RuntimeError):
    """An actor of a run is gone; the message says which, and what Ray says of it."""


class PartSilent(RuntimeError):
    """An actor of a run that answers at once has not; the message says which."""


def run_beside(work: Callable[[], Any], actors: Mapping[str, ActorHandle], prompt: Collection[str] = ()) -> Any:
    """Run `work` to its end, or until an actor has died or fallen silent.

    Each actor always has one call to answer. However long it takes, a busy one is not taken for dead; only one of the
    `prompt` is given up after `SILENCE_SECONDS`, of which those do not count in which this process was stopped itself.

    Args:
        work: The training loop.
        actors: By what they are called in an error.
        prompt: Names of those that answer at once, whatever they do.

    Raises:
        PartDied: An actor died. `work` is left behind in a daemon thread: what it waits for may not come.
        PartSilent: An actor did not answer; the same.
        Exception: Whatever `work` raised.
    """
    done: Future = Future()
    Thread(target=_settle, args=(done, work), daemon=True).start()
    calls = {actor.__ray_ready__.remote(): name for name, actor in actors.items()}
    polls: Counter[str] = Counter()  # since the call that each has to answer
    while not wait([done], timeout=POLL_SECONDS).done:
        answered, waiting = ray.wait(list(calls), num_returns=len(calls), timeout=0) if calls else ([], [])
        polls.update(calls[call] for call in waiting)
        silent = [name for name in prompt if polls[name] * POLL_SECONDS > SILENCE_SECONDS]
        if silent and not done.done():
            raise PartSilent(f"{silent[0]} has given no answer for {SILENCE_SECONDS:.0f} s; it hangs, or was stopped")
        for call in answered:
            name = calls.pop(call)
            died = _death(call)
            if died and not done.done():
                raise PartDied(f"{name}: {died}") from died
            if not died:
                calls[actors[name].__ray_ready__.remote()] = name
                polls[name] = 0
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

"""Ends a run whose rollout engine has died.

verl 0.9.1 waits for ever when a vLLM process dies during a weight sync: the sender blocks in a socket's
`recv` that nobody will answer. So the trainer's loop runs in a thread, and this one asks each engine's
server for its health meanwhile.
"""

from __future__ import annotations

import http.client
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from threading import Thread
from typing import Any

POLL_SECONDS = 5.0
STRIKES = 3
"""Failed polls in a row before an engine is given up: a busy server may miss one."""
SILENCE_SECONDS = 300.0
"""Without any answer before an engine is given up: a busy server answers late."""


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class RolloutEngineDied(RuntimeError):
    """A rollout engine no longer answers."""


class _Engine:
    """What is known of an engine's health."""

    def __init__(self, address: str):
        self.address, self.strikes, self.answered = address, 0, time.monotonic()

    def fault(self) -> str | None:
        """Ask once; why the engine is given up, if it is."""
        try:
            why = _fault(self.address)
        except TimeoutError:
            silent = time.monotonic() - self.answered
            return f"no answer for {silent:.0f} s" if silent > SILENCE_SECONDS else None
        self.answered = time.monotonic()
        self.strikes = self.strikes + 1 if why else 0
        return why if self.strikes >= STRIKES else None


def run_watched(work: Callable[[], Any], replicas: Sequence[Any]) -> Any:
    """Run `work` to its end, or until an engine has died.

    Args:
        work: The training loop.
        replicas: verl's rollout replicas.

    Raises:
        RolloutEngineDied: An engine failed `STRIKES` polls in a row, or was silent for `SILENCE_SECONDS`. `work` is
            left behind in a daemon thread: what it waits for will not come, and the process is about to end.
        Exception: Whatever `work` raised.
    """
    done: Future = Future()
    Thread(target=_settle, args=(done, work), daemon=True).start()
    engines = [_Engine(replica.server_address) for replica in replicas]
    while not _wait(done, POLL_SECONDS):
        for engine in engines:
            why = engine.fault()
            if why and not done.done():
                raise RolloutEngineDied(
                    f"the rollout engine at {engine.address} has died ({why}); its own error, if it gave one, stands "
                    "further up in the log"
                )
    return done.result()


def _settle(done: Future, work: Callable[[], Any]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:  # noqa: BLE001  (handed to the waiting thread, which raises it)
        done.set_exception(error)


def _wait(done: Future, seconds: float) -> bool:
    try:
        done.exception(timeout=seconds)
    except FutureTimeout:
        return False
    return True


def _fault(address: str) -> str | None:
    """Why a server is not well; None where it is.

    Raises:
        TimeoutError: It does not answer in time.
    """
    try:
        _direct.open(f"http://{address}/health", timeout=POLL_SECONDS).close()
    except TimeoutError:
        raise
    except (OSError, http.client.HTTPException) as error:  # URLError, a status of 5xx, a dropped connection
        if isinstance(reason := getattr(error, "reason", None), TimeoutError):
            raise reason from None
        return str(error) or repr(error)
    return None

"""Ends a run whose rollout engine has died.

verl 0.9.1 waits for ever when a vLLM process dies during a weight sync: the sender blocks in a socket's
`recv` that nobody will answer. So the trainer's loop runs in a thread, and for each engine another one asks its
server for its health meanwhile; however many there are, a late answer of one delays no other's.
"""

from __future__ import annotations

import http.client
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from functools import partial
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
        self.address, self.strikes = address, 0
        self.unanswered: float | None = None
        """When the first of the latest polls without an answer was sent, by `time.monotonic`."""

    def fault(self) -> str | None:
        """Ask once; why the engine is given up, if it is."""
        asked = time.monotonic()
        try:
            why = _fault(self.address)
        except TimeoutError:
            self.unanswered = asked if self.unanswered is None else self.unanswered
            silent = time.monotonic() - self.unanswered
            return f"no answer for {silent:.0f} s" if silent > SILENCE_SECONDS else None
        self.unanswered = None
        self.strikes = self.strikes + 1 if why else 0
        return why if self.strikes >= STRIKES else None


class _End(Future):
    """What comes first: the end of the work, or of an engine."""

    def settle(self, work: Callable[[], Any]) -> None:
        """Do the work, and settle with what it returns or raises, unless that is done."""
        try:
            settle, outcome = self.set_result, work()
        except BaseException as error:  # noqa: BLE001  (handed to the waiting thread, which raises it)
            settle, outcome = self.set_exception, error
        with suppress(InvalidStateError):
            settle(outcome)

    def is_there(self, seconds: float) -> bool:
        """Whether it comes within so many seconds."""
        try:
            self.exception(timeout=seconds)
        except FutureTimeout:
            return False
        return True


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
    end = _End()
    jobs = [work, *(partial(_watch, _Engine(replica.server_address), end) for replica in replicas)]
    for job in jobs:
        Thread(target=end.settle, args=(job,), daemon=True).start()
    return end.result()


def _watch(engine: _Engine, end: _End) -> None:
    """Poll an engine until the end is there.

    Raises:
        RolloutEngineDied: It is given up.
    """
    while not end.is_there(POLL_SECONDS):
        if why := engine.fault():
            raise RolloutEngineDied(
                f"the rollout engine at {engine.address} has died ({why}); its own error, if it gave one, stands "
                "further up in the log"
            )


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

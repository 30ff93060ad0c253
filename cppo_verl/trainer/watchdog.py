"""Ends a run whose rollout engine has died.

verl 0.9.1 waits for ever when a vLLM process dies during a weight sync: the sender blocks in a socket's
`recv` that nobody will answer. So the trainer's loop runs in a thread, and this one asks each engine's
server for its health meanwhile.
"""

from __future__ import annotations

import http.client
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from threading import Thread
from typing import Any

POLL_SECONDS = 5.0
STRIKES = 3
"""Failed polls in a row before an engine is given up: a busy server may miss one."""


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class RolloutEngineDied(RuntimeError):
    """A rollout engine no longer answers."""


def run_watched(work: Callable[[], Any], replicas: Sequence[Any]) -> Any:
    """Run `work` to its end, or until an engine has died.

    Args:
        work: The training loop.
        replicas: verl's rollout replicas.

    Raises:
        RolloutEngineDied: An engine failed `STRIKES` polls in a row. `work` is left behind in a daemon
            thread: what it waits for will not come, and the process is about to end.
        Exception: Whatever `work` raised.
    """
    done: Future = Future()
    Thread(target=_settle, args=(done, work), daemon=True).start()
    strikes = dict.fromkeys((replica.server_address for replica in replicas), 0)
    while not _wait(done, POLL_SECONDS):
        for address in strikes:
            fault = _fault(address)
            strikes[address] = strikes[address] + 1 if fault else 0
            if strikes[address] >= STRIKES and not done.done():
                raise RolloutEngineDied(
                    f"the rollout engine at {address} has died ({fault}); its own error stands further up in the log"
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
    """Why a server is dead, or None where it is well or only slow to answer."""
    try:
        _direct.open(f"http://{address}/health", timeout=POLL_SECONDS).close()
    except TimeoutError:
        return None
    except (OSError, http.client.HTTPException) as error:  # URLError, a status of 5xx, a dropped connection
        return None if isinstance(getattr(error, "reason", None), TimeoutError) else str(error) or repr(error)
    return None

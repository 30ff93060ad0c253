"""The process that tries a reward function of the user's own: `attempt` reads what to try from a pipe, and says what
came of it on another, in lines of JSON.

It ends itself where a call takes too long, also inside C, and knows nothing of the program that started it.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from typing import Any

from cppo_verl.rewards.own import load
from cppo_verl.rewards.returned import WANTED, names_of, score_of

LOAD_SECONDS, ENOUGH_SECONDS = 120.0, 20.0
"""What importing a function's module may take, and after which no further row is tried."""
BOOT = (
    "import json, os, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from cppo_verl.rewards.trial import attempt; attempt(); os._exit(0)"
)
"""What the interpreter of the process runs: no main module, and the caller's path, which comes as the argument. It
waits for no thread that the function left behind."""


@dataclass(frozen=True)
class Trial:
    """What is tried."""

    path: str
    """A Python file, or `pkg://a.module`."""
    name: str
    """Of the function."""
    kwargs: dict[str, Any]
    """That it is given beside what verl gives."""
    rows: list[tuple[str, dict[str, Any]]]
    """Which row of which file, in words, and what verl gives of it."""
    call_seconds: float
    """What a call may take."""
    in_thread: bool = True
    """Whether verl calls it in a thread, as most of its reward managers do."""


@dataclass
class Tried:
    """What came of it."""

    fault: str | None = None
    """What to say after the function's name, if it gives no rewards."""
    names: list[str] = field(default_factory=list)
    """The columns, see `returned.names_of`."""
    differs: list[str] = field(default_factory=list)
    """Those that some results lack."""
    is_async: bool = False


def attempt() -> None:
    """Try a pickled `Trial` from standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what anything prints is no answer
    trial: Trial = pickle.load(sys.stdin.buffer)

    def say(**message: Any) -> None:
        print(json.dumps(message), file=answers, flush=True)

    say(at="loading it")
    _end_after(LOAD_SECONDS)
    try:
        function = load(trial.path, trial.name)
    except BaseException as error:  # noqa: BLE001  (whatever it is, the user is told)
        return say(fault=f"cannot be loaded: {_described(error)}")
    say(is_async=iscoroutinefunction(function))
    say(**asyncio.run(_try_rows(trial, function, say)))


async def _try_rows(trial: Trial, function: Callable, say: Callable[..., None]) -> dict[str, Any]:
    """A fault, or the columns."""
    returned, start = [], time.monotonic()
    for where, row in trial.rows:
        if time.monotonic() - start > ENOUGH_SECONDS:
            break
        say(at=where)
        _end_after(trial.call_seconds)
        given = {**copy.deepcopy(row), **trial.kwargs}
        try:
            if iscoroutinefunction(function):
                result = await function(**given)
            elif trial.in_thread:
                result = await asyncio.get_running_loop().run_in_executor(None, lambda: function(**given))  # noqa: B023
            else:
                result = function(**given)
        except BaseException as error:  # noqa: BLE001  (as above)
            return {"fault": f"raised {_described(error)}, for {where}"}
        try:
            score_of(result)
        except ValueError as error:
            return {"fault": f"returned {error}, for {where}; {WANTED}"}
        returned.append(result)
    names = names_of(returned)
    columns = [{"acc", "score"} if not isinstance(result, Mapping) else set(result) for result in returned]
    return {"names": names, "differs": [name for name in names if not all(name in row for row in columns)]}


def _described(error: BaseException) -> str:
    """An error, and the line of the user's code, or of what that calls, where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({os.path.basename(last.filename)}, line {last.lineno})"


def _end_after(seconds: float) -> None:
    """End this process by an alarm of the kernel's, which the code that is tried may have changed before."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)

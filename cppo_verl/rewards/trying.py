"""A reward function of the user's own is tried in a process of its own; see `trial` for what that does."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from contextlib import suppress
from tempfile import TemporaryFile
from typing import Any

from cppo_verl.rewards.trial import BOOT, ENOUGH_SECONDS, LOAD_SECONDS, Trial, Tried


def try_out(trial: Trial) -> Tried:
    """Try a function in a process of its own, which ends within its limits, with all that it started."""
    command = [sys.executable, "-c", BOOT, json.dumps([path or os.getcwd() for path in sys.path])]
    with TemporaryFile() as printed:  # no pipe: what the function starts may hold it open
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": printed}
        is_late = False
        process = subprocess.Popen(command, **pipes, start_new_session=True)
        try:
            limit = LOAD_SECONDS + ENOUGH_SECONDS + 2 * trial.call_seconds  # the process's own are shorter
            answers, _ = process.communicate(pickle.dumps(trial), timeout=limit)
        except subprocess.TimeoutExpired:
            is_late = True
            process.kill()
            answers, _ = process.communicate()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        printed.seek(0)
        errors = printed.read().decode(errors="replace")
    said: dict[str, Any] = {}
    for line in answers.decode().splitlines():
        said |= json.loads(line)
    if "names" not in said and "fault" not in said:
        said["fault"] = _unfinished(process.returncode, is_late, trial, said.get("at"), errors)
    return Tried(**{name: value for name, value in said.items() if name != "at"})


def _unfinished(code: int, is_late: bool, trial: Trial, at: str | None, errors: str) -> str:
    """What to say of a process that ended before it had tried."""
    if is_late or code == -signal.SIGALRM:
        seconds = LOAD_SECONDS if at == "loading it" else trial.call_seconds
        return f"had not come to an end after {seconds:g} s, {_during(at)}; give it a limit of its own"
    last = errors.strip().splitlines()[-1:] or ["nothing was printed"]
    return f"ended its process (exit code {code}: {last[0]:.200}), {_during(at)}"


def _during(at: str | None) -> str:
    return f"for {at}" if at and at != "loading it" else "while it was loaded"

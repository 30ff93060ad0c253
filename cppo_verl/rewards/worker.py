"""The process that compares: `serve` reads requests from a pipe, one per line, and answers each on another.

It imports what it needs once, and then forks for the requests. A comparison that hangs or breaks its process is killed
with it, and the next fork is there at once. It knows nothing of the program that started it: no main module is imported
again, so a script needs no `if __name__ == "__main__"`.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
import warnings
from typing import BinaryIO

from cppo_verl.rewards.result import Outcome

MEMORY_BYTES = 1 << 30  # on top of what a fresh worker maps
PATIENCE = 4
"""The limit is processor time, so that a busy machine changes no score; in real time it is so many times that."""
ALARM_MARGIN_S = 2.0  # the pool kills at that; the alarm is for when there is no pool any more
BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from cppo_verl.rewards.worker import serve; serve()"
"""What the interpreter of a worker runs: no main module, and the caller's path, which comes as the argument."""


def serve() -> None:
    """Answer requests until their pipe is closed, by whatever end of the program at its other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in a terminal is the program's to handle
    requests, answers = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what anything else prints is no answer
    try:
        _warm_up()
    except Exception:  # noqa: BLE001  (whatever it is, the pool tells the user)
        _say(answers, {"failed": traceback.format_exc()})
        return
    before = "crashed"
    while True:
        pid = os.fork()
        if pid == 0:
            os._exit(_serve_forked(requests, answers, before))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code >= 0:  # a pipe was closed, or the fork itself is at fault: only one that was killed is replaced
            return
        before = "timed_out" if code == -signal.SIGPROF else "crashed"


def _warm_up() -> None:
    import logging

    from cppo_verl.rewards.comparing import compare

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its own limits are off
    warnings.simplefilter("ignore")
    compare(r"x+\frac{1}{2}", r"\frac{2x+1}{2}")  # builds its tables; slow only the first time


def _serve_forked(requests: BinaryIO, answers: BinaryIO, before: Outcome) -> int:
    """The exit code: 0 once the pipe is closed; `before` is what became of the request that ended the last fork."""
    try:
        _limit_memory()
        _say(answers, {"ready": os.getpid(), "before": before})
        while line := requests.readline():
            _say(answers, _answer(json.loads(line)))
    except BrokenPipeError:  # the program is gone
        return 0
    except BaseException:  # noqa: BLE001  (this is a fork: it must not return into the loop that forked it)
        traceback.print_exc()
        return 1
    return 0


def _answer(request: dict) -> dict:
    from cppo_verl.rewards.comparing import compare

    limit = request["timeout"]  # two timers, which end the process, even inside a C call
    signal.setitimer(signal.ITIMER_PROF, limit)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * limit + ALARM_MARGIN_S)
    try:
        outcome = compare(*request["compare"])
    except Exception:  # noqa: BLE001  (sympy raises anything on what a model writes)
        outcome = "crashed"
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return {"id": request["id"], "outcome": outcome}


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # elsewhere the limit is not enforced
        with open("/proc/self/statm") as statm:
            mapped = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES,) * 2)


def _say(answers: BinaryIO, message: dict) -> None:
    answers.write(json.dumps(message).encode() + b"\n")

"""The process of which others start as forks: it imports, then forks for each `forked_python` that asks.

python fork_server.py LISTENING FOLDER      # the number of an open socket; where links say which fork is whose
"""

from __future__ import annotations

import array
import atexit
import ctypes
import fcntl
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import selectors
import signal
import socket
import sys
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from forked_python import NUMBER, PR_SET_PDEATHSIG, PYTHON

IMPORTED = (
    "cppo_verl.cpu.worker",
    "cppo_verl.train",
    "cppo_verl.trainer.v0.task_runner",
    "verl.trainer.main_ppo",
    "verl.workers.rollout.vllm_rollout.vllm_async_server",
    "vllm.v1.engine.async_llm",
)
MOST_FILES = 250
"""Linux hands on 253 at a time."""


class Forked(BaseException):
    """Leaves the server's loop in a fork."""

    def __init__(self, request: Mapping, files: Sequence[int]):
        self.request, self.files = request, files


@dataclass(eq=False)
class Fork:
    """A fork that runs, to the server."""

    pid: int
    pidfd: int
    asker: socket.socket
    link: Path
    """Named by the asker's pid, to the fork's."""

    def end(self) -> None:
        """Tell the asker how the fork ended; the fork is over, or is killed."""
        _, status = os.waitpid(self.pid, 0)
        with suppress(OSError):
            self.asker.sendall(NUMBER.pack(status))
        self.asker.close()
        os.close(self.pidfd)
        self.link.unlink()


def serve(listening: socket.socket, folder: Path) -> None:
    """Fork for whoever asks; never returns, but raises `Forked` in each fork."""
    selector = selectors.DefaultSelector()
    selector.register(listening, selectors.EVENT_READ)
    forks: set[Fork] = set()
    while True:
        for key, _ in selector.select():
            if key.fileobj is listening:
                if fork := _fork(listening, folder, [selector, *(fork.asker for fork in forks)]):
                    forks.add(fork)
                    selector.register(fork.pidfd, selectors.EVENT_READ, fork)
                    selector.register(fork.asker, selectors.EVENT_READ, fork)
            elif (fork := key.data) in forks:  # not ended by an event before this one
                if key.fileobj is fork.asker:  # it says nothing but that it is gone
                    os.kill(fork.pid, signal.SIGKILL)
                forks.remove(fork)
                selector.unregister(fork.pidfd)
                selector.unregister(fork.asker)
                fork.end()


def become(request: Mapping, files: Sequence[int]) -> None:
    """In a fork: be the `python` that was asked for, to its end."""
    import numpy
    import torch

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    free = max([*request["files"], *files], default=2) + 1
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD, free) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(moved, request["files"], strict=True):
        os.dup2(file, number)
        os.close(file)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    atexit.register(gc.unfreeze)
    multiprocessing.set_executable(os.environ[PYTHON])
    numpy.random.seed(None)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    _run(list(request["arguments"]))


def _fork(listening: socket.socket, folder: Path, others: Sequence) -> Fork | None:
    """One for the next that asks; None if it is gone already."""
    asker = listening.accept()[0]
    head, ancillary, _, _ = asker.recvmsg(NUMBER.size, socket.CMSG_SPACE(4 * MOST_FILES), socket.MSG_WAITALL)
    files = array.array("i")
    for _, _, data in ancillary:
        files.frombytes(data)
    if len(head) < NUMBER.size:
        asker.close()
        return None
    request = json.loads(asker.recv(*NUMBER.unpack(head), socket.MSG_WAITALL))
    if not (pid := os.fork()):
        for mine in (listening, asker, *others):
            mine.close()
        raise Forked(request, files)
    for file in files:
        os.close(file)
    link = folder / str(request["pid"])
    link.symlink_to(str(pid))
    with suppress(OSError):
        asker.sendall(NUMBER.pack(pid))
    return Fork(pid, os.pidfd_open(pid), asker, link)


def _run(arguments: list[str]) -> None:
    """As `python` does with `arguments`."""
    while arguments[0].startswith("-") and arguments[0] not in ("-c", "-m"):
        if arguments.pop(0) in ("-X", "-W"):
            arguments.pop(0)
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=__builtins__, __spec__=None)
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(":") if path and path not in sys.path]
    sys.path[:1] = ["", *paths]
    first, *rest = arguments
    if first == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    elif first == "-m":
        sys.argv, sys.path[0] = ["-m", *rest[1:]], os.getcwd()
        runpy._run_module_as_main(rest[0])
    else:
        sys.argv, sys.path[0] = [first, *rest], str(Path(first).resolve().parent)
        main.__file__ = first
        exec(compile(Path(first).read_bytes(), first, "exec"), main.__dict__)


def main() -> None:
    """Import, and serve."""
    import setproctitle

    os.environ["RAY_RAYLET_PID"] = str(os.getpid())  # also read once; a fork's own Ray ends it by a signal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in IMPORTED:
        importlib.import_module(name)
    setproctitle.getproctitle()  # finds where titles go, which nothing can once the environment has changed
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]))


if __name__ == "__main__":
    try:
        main()
    except Forked as forked:
        asked = forked
    become(asked.request, asked.files)

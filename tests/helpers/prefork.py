"""A process that has imported torch, verl, vLLM and this project, of which others start as forks.

Most of a run's start is the same imports in a dozen processes, one after another: 12 s of processor time each. Ray starts
its workers with what `ray_hook` names, a run's driver is started with `Prefork.python`, and both are `forked_python`,
which asks this server for a fork. What runs in it is what would run in a `python` of its own.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import json
import os
import runpy
import selectors
import shlex
import signal
import socket
import struct
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SOCKET = "PREFORK_SOCKET"
PYTHON = "PREFORK_PYTHON"
HERE = Path(__file__).parent
IMPORTED = (
    "cppo_verl.cpu.worker",
    "cppo_verl.train",
    "cppo_verl.trainer.v0.task_runner",
    "verl.trainer.main_ppo",
    "verl.workers.rollout.vllm_rollout.vllm_async_server",
    "vllm.v1.engine.async_llm",
)
# What is read where a library is loaded, and has to be there before a fork asks for it.
AT_IMPORT = {
    "VERL_PLATFORM": "cpu",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_WAIT_POLICY": "PASSIVE",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",  # a thread of its pool would not be in a fork
    "RAY_AUTH_MODE": "token",
    "RAY_JOB_ID": "01000000",  # the first of a Ray of its own
}
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Prefork:
    """A running server."""

    python: Path
    """What starts a fork of it, with the arguments of `python`."""
    environment: Mapping[str, str]
    """Of a run whose Ray workers are to be forks of it too."""

    def fork_of(self, asker: int) -> int | None:
        """The pid of the fork that the process `asker` waits for, if it is one that does."""
        link = self.python.parent / str(asker)
        return int(os.readlink(link)) if link.is_symlink() else None


@contextmanager
def preforking(folder: Path) -> Iterator[Prefork]:
    """A server with its files in `folder`, whose path is short; all its forks end with it."""
    path, python = folder / "fork", folder / "python"
    command = shlex.join([sys.executable, "-I", "-S", str(HERE / "forked_python.py")])
    python.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    python.chmod(0o755)
    environment = {SOCKET: str(path), PYTHON: str(python), "RAY_RUNTIME_ENV_HOOK": "prefork.ray_hook"}
    with (folder / "log.txt").open("w") as log, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(64)
        command = [sys.executable, __file__, str(listening.fileno())]
        server = subprocess.Popen(
            command,
            pass_fds=[listening.fileno()],
            stdout=log,
            stderr=log,
            env={**os.environ, **AT_IMPORT, **environment},
            start_new_session=True,
        )
    try:
        yield Prefork(python, {**environment, "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}".strip(":")})
    finally:
        server.kill()
        server.wait()


def ray_hook(runtime_env: Mapping | None) -> dict:
    """Ray's `RAY_RUNTIME_ENV_HOOK`: a job's workers are started with the server's `python`."""
    return {**(runtime_env or {}), "py_executable": os.environ[PYTHON]}


class Forked(BaseException):
    """Leaves the server's loop in a fork."""

    def __init__(self, request: Mapping, files: list[int]):
        self.request, self.files = request, files


def serve(listening: socket.socket, folder: Path) -> None:
    """Fork for whoever asks; never returns, but raises `Forked` in each fork.

    While a fork runs, a link in `folder` from the asker's pid says the fork's.
    """
    selector = selectors.DefaultSelector()
    selector.register(listening, selectors.EVENT_READ)
    asked: dict[int, tuple[int, socket.socket, Path]] = {}  # by a fork's pidfd

    def forget(pidfd: int) -> None:
        _, connection, link = asked.pop(pidfd)
        link.unlink()
        for file in (pidfd, connection):
            selector.unregister(file)
        os.close(pidfd)
        connection.close()

    while True:
        for key, _ in selector.select():
            if key.fileobj is listening:
                connection = listening.accept()[0]
                request, files = _read(connection)
                if not (pid := os.fork()):
                    selector.close()
                    listening.close()
                    connection.close()
                    for pidfd, (_, other, _) in asked.items():
                        os.close(pidfd)
                        other.close()
                    raise Forked(request, files)
                for file in files:
                    os.close(file)
                pidfd = os.pidfd_open(pid)
                link = folder / str(request["pid"])
                link.symlink_to(str(pid))
                asked[pidfd] = pid, connection, link
                connection.sendall(struct.pack("!I", pid))
                selector.register(pidfd, selectors.EVENT_READ, ("ended", pidfd))
                selector.register(connection, selectors.EVENT_READ, ("left", pidfd))
                continue
            what, pidfd = key.data
            if pidfd not in asked:
                continue
            pid, connection, _ = asked[pidfd]
            if what == "left":  # it was killed
                os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            try:
                connection.sendall(struct.pack("!I", status))
            except OSError:
                pass
            forget(pidfd)


def become(request: Mapping, files: list[int]) -> None:
    """In a fork: be the `python` that was asked for, to its end."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    above = max([*request["files"], *files], default=2) + 1
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD, above) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(moved, request["files"]):
        os.dup2(file, number)
        os.close(file)
    for name in ("stdout", "stderr"):
        setattr(sys, name, open({"stdout": 1, "stderr": 2}[name], "w", buffering=1, closefd=False))
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    signal.signal(signal.SIGINT, signal.default_int_handler)

    import atexit
    import gc
    import multiprocessing

    import numpy
    import torch

    atexit.register(gc.unfreeze)
    multiprocessing.set_executable(os.environ[PYTHON])
    numpy.random.seed(None)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count()))
    _run(request["arguments"])


def _run(arguments: list[str]) -> None:
    """As `python` does with `arguments`."""
    arguments = list(arguments)
    while arguments[0].startswith("-") and arguments[0] not in ("-c", "-m"):
        option = arguments.pop(0)
        if option in ("-X", "-W"):
            arguments.pop(0)
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    main.__dict__.update(__builtins__=__builtins__, __spec__=None)
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(":") if path and path not in sys.path]
    sys.path[:1] = ["", *paths]
    first, rest = arguments[0], arguments[1:]
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


def _read(connection: socket.socket) -> tuple[dict, list[int]]:
    """What is asked for, and the open files that come with it."""
    head, ancillary, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(4 * 250), socket.MSG_WAITALL)
    files = array.array("i")
    for _, _, data in ancillary:
        files.frombytes(data)
    (length,) = struct.unpack("!I", head)
    encoded = b""
    while len(encoded) < length:
        encoded += connection.recv(length - len(encoded))
    return json.loads(encoded), list(files)


def main() -> None:
    """Import, and serve."""
    import gc
    import importlib

    import setproctitle

    os.environ["RAY_RAYLET_PID"] = str(os.getpid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in IMPORTED:
        importlib.import_module(name)
    setproctitle.getproctitle()  # finds where titles go, which nothing can once the environment has changed
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])), Path(os.environ[SOCKET]).parent)


if __name__ == "__main__":
    sys.path[0] = str(HERE)
    try:
        main()
    except Forked as forked:
        asked = forked
    become(asked.request, asked.files)

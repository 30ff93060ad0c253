"""Runs whose processes start as forks of one that has imported torch, verl, vLLM and this project.

Most of a run's start is the same imports in a dozen processes, one after another: 12 s of processor time each. Ray
starts its workers with what `ray_hook` names, a run's driver is started with `Prefork.python`, and both are
`forked_python`, which asks `fork_server` for a fork. What runs in it is what would run in a `python` of its own.
Written for Ray 2.60; `tests/e2e/test_prefork.py` fails where its workers are no forks.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from forked_python import PYTHON, SOCKET

HERE = Path(__file__).parent
# Besides a run's own variables, what libraries read once, when they are loaded: later it is too late for a fork.
AT_IMPORT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",  # threads of a pool would not be in a fork
    "RAY_AUTH_MODE": "token",
    "RAY_JOB_ID": "01000000",  # the first of a Ray of its own
}


@dataclass(frozen=True)
class Prefork:
    """A running server."""

    python: Path
    """What starts a fork of it, with the arguments of `python`."""
    environment: Mapping[str, str]
    """Of a run whose Ray workers are to be forks of it too."""
    pid: int

    def fork_of(self, asker: int) -> int | None:
        """The pid of the fork that the process `asker` waits for, if it is one that does."""
        link = self.python.parent / str(asker)
        return int(os.readlink(link)) if link.is_symlink() else None


@contextmanager
def preforking(folder: Path, variables: Mapping[str, str]) -> Iterator[Prefork]:
    """A server with its files in `folder`, whose path is short; all its forks end with it.

    Args:
        folder: Is there, and empty.
        variables: The environment of a run's workers.
    """
    path, python = folder / "socket", folder / "python"
    command = shlex.join([sys.executable, "-I", "-S", str(HERE / "forked_python.py")])
    python.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    python.chmod(0o755)
    environment = {SOCKET: str(path), PYTHON: str(python), "RAY_RUNTIME_ENV_HOOK": "prefork.ray_hook"}
    with (folder / "log.txt").open("w") as log, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(64)
        server = subprocess.Popen(
            [sys.executable, HERE / "fork_server.py", str(listening.fileno()), str(folder)],
            pass_fds=[listening.fileno()],
            stdout=log,
            stderr=log,
            env={**os.environ, **variables, **AT_IMPORT, **environment},
            start_new_session=True,
        )
    paths = ":".join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    try:
        yield Prefork(python, {**environment, "PYTHONPATH": paths}, server.pid)
    finally:
        server.kill()
        server.wait()


def ray_hook(runtime_env: Mapping | None) -> dict:
    """Ray's `RAY_RUNTIME_ENV_HOOK`: a job's workers are started with the server's `python`."""
    return {**(runtime_env or {}), "py_executable": os.environ[PYTHON]}

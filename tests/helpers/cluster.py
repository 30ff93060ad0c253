"""A Ray cluster of two nodes, both on this machine, that ends with the test."""

from __future__ import annotations

import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray
from runs import Runner


@dataclass
class Cluster:
    """A running one."""

    runner: Runner
    """What started it."""
    env: dict[str, str]
    """Of a run that joins it."""
    second: psutil.Process
    """The second node's raylet."""


@contextmanager
def two_nodes(repo: Path, logs: Path) -> Iterator[Cluster]:
    """Start a cluster of two nodes of one device each, as recipe/cppo/README.md says.

    Args:
        repo: The repository.
        logs: Where the output of `ray start` goes.
    """
    runner, port = Runner(repo), _free_port()
    address = f"{ray.util.get_node_ip_address()}:{port}"
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--num-gpus=1", "--num-cpus=16"]
    # A short path for sockets, whose own may have 107 bytes; `ray start` notes its cluster there for others to join.
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        own = {"RAY_TMPDIR": folder, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        try:
            runner([*start, "--head", f"--port={port}", "--include-dashboard=false"], logs / "head", env=own)
            (first,) = _raylets(runner)
            runner([*start, f"--address={address}"], logs / "second", env=own)
            second = next(raylet for raylet in _raylets(runner) if raylet != first)
            yield Cluster(runner, own | {"RAY_ADDRESS": address}, second)
        finally:
            runner.end(grace_s=0)


def _raylets(runner: Runner) -> list[psutil.Process]:
    return [process for process in runner.processes() if process.name() == "raylet"]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("", 0))
        return one.getsockname()[1]

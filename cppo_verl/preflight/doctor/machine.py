"""The machine around the packages: memory, disks, limits, network, and what runs on it already."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psutil
from filelock import FileLock, Timeout

from cppo_verl.hardware.network import no_answer
from cppo_verl.runs.checkpoints import Checkpoints, step_of
from cppo_verl.runs.files import LOCK

HUB = "https://huggingface.co"
TRUE = {"1", "ON", "YES", "TRUE"}
"""As huggingface_hub reads its switches."""


@dataclass(frozen=True)
class Place:
    """A folder, or the nearest above it that is there."""

    path: str
    free: int
    """Bytes."""
    total: int
    """Bytes."""
    writable: bool = True


@dataclass(frozen=True)
class Hub:
    """The hub of models and data sets."""

    address: str = HUB
    offline: bool = False
    """The environment says not to ask it."""
    fault: str | None = None
    """Why it does not answer."""


@dataclass(frozen=True)
class RunState:
    """A run's folder."""

    path: str
    in_use: bool = False
    """Another process writes into it."""
    last_step: int | None = None
    """Of its last complete checkpoint."""


@dataclass(frozen=True)
class Machine:
    """What was found."""

    memory: tuple[int, int]
    """Bytes that are available, and all of them: the container's, where it has fewer."""
    shm: Place | None
    """/dev/shm, where there is one."""
    open_files: tuple[int, int]
    """How many a process may have open, and how far it may raise that itself; -1: no limit."""
    disks: Mapping[str, Place]
    """By what is written there."""
    tmp: Place
    ray_folder: str
    """Where Ray puts its sockets."""
    hub: Hub = Hub()
    environment: Mapping[str, str] = field(default_factory=dict)
    processes: Mapping[int, str] = field(default_factory=dict)
    """Process id to name, of each Ray and vLLM that runs."""
    run: RunState | None = None
    """None where no folder was named."""


def look_at_machine(run_folder: Path | None) -> Machine:
    """Look at this machine; the hub may take a few seconds."""
    cache = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    shm = Path("/dev/shm")
    ray = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    return Machine(
        memory=_memory(),
        shm=place(shm) if shm.is_dir() else None,
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE),
        disks={"the run folder": place(run_folder or Path.cwd()), "the hub's cache": place(cache)},
        tmp=place(Path("/tmp")),
        ray_folder=f"{ray}/ray",
        hub=ask_hub(os.environ),
        environment=dict(os.environ),
        processes=find_engines(psutil.process_iter(["name", "cmdline"])),
        run=look_at_run(run_folder) if run_folder else None,
    )


def place(folder: Path) -> Place:
    """The file system of a folder, and whether a file can be made there."""
    folder = folder.absolute()
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    try:
        with tempfile.TemporaryFile(dir=there):
            writable = True
    except OSError:
        writable = False
    usage = shutil.disk_usage(there)
    return Place(str(there), usage.free, usage.total, writable)


def ask_hub(environment: Mapping[str, str]) -> Hub:
    """Whether the hub answers, asked once."""
    endpoint = (environment.get("HF_ENDPOINT") or HUB).rstrip("/")
    parts = urlsplit(endpoint)
    address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))  # a password is not for a report
    if any(environment.get(name, "").upper() in TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")):
        return Hub(address, offline=True)
    return Hub(address, fault=no_answer(endpoint))


def find_engines(processes: Iterable[psutil.Process]) -> dict[int, str]:
    """Process id to name of each Ray (its raylet) and each engine of vLLM."""
    found = {}
    for process in processes:
        title = (process.info["cmdline"] or [""])[0]
        if process.info["name"] == "raylet" or title.startswith("VLLM::"):
            found[process.pid] = title.split()[0] if title.startswith("VLLM::") else "raylet"
    return found


def look_at_run(folder: Path) -> RunState:
    """Whether a run's folder is in use; nothing is made or changed."""
    last = Checkpoints(folder).last_complete()
    in_use, lock = False, folder / LOCK
    if lock.is_file():
        try:
            with FileLock(lock, timeout=0):
                pass
        except Timeout:
            in_use = True
    return RunState(str(folder), in_use, step_of(last) if last else None)


def _memory() -> tuple[int, int]:
    memory = psutil.virtual_memory()
    group = Path("/sys/fs/cgroup")
    limit, used = (_number(group / f"memory.{what}") for what in ("max", "current"))
    if limit is None or limit >= memory.total:
        return memory.available, memory.total
    return min(memory.available, limit - (used or 0)), limit


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # no such group, or "max"
        return None

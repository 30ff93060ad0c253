"""Whether the machine lets a run work: memory, files, disks, network, and what runs on it already."""

from __future__ import annotations

from collections.abc import Iterator

from cppo_verl.hardware.memory import GIB, gib
from cppo_verl.preflight.doctor.facts import Facts
from cppo_verl.preflight.doctor.finding import Finding

MEMORY = 8 * GIB
"""Of the machine: the least that the smallest run, with Ray and vLLM, gets by with."""
SHM, SHM_OF_NCCL = 2 * GIB, GIB
"""What Ray's objects want of /dev/shm, and what NCCL needs of it between several GPUs."""
OPEN_FILES = 8192
"""Below it Ray itself warns."""
DISK_LEAST, DISK_FEW, DISK_SHARE = GIB, 10 * GIB, 0.05
"""Free bytes under which a run fails or is warned of, and the free share under which Ray keeps no objects."""
SOCKET = 107
"""Bytes that the path of a Unix socket may have."""
LONGEST = "/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
"""What Ray adds to its folder."""


def memory(facts: Facts) -> Iterator[Finding]:
    """The machine's."""
    available, total = facts.machine.memory
    found = f"{gib(available)} GiB of {gib(total)} GiB available"
    enough = available >= MEMORY
    yield Finding("memory", "ok" if enough else "warning", found, "" if enough else "end what uses it; see `top`")


def shm(facts: Facts) -> Iterator[Finding]:
    """Shared memory."""
    there, gpus = facts.machine.shm, facts.torch.gpus if facts.torch else 0
    remedy = "start the container with --shm-size=16g, or --ipc=host"
    if there is None:
        yield Finding("/dev/shm", "not there", "Ray keeps its objects on the disk instead, which is slower", remedy)
    elif there.total < SHM_OF_NCCL and gpus > 1:
        yield Finding("/dev/shm", "error", f"{gib(there.total)} GiB, too small for NCCL between {gpus} GPUs", remedy)
    elif there.free < SHM:
        yield Finding("/dev/shm", "warning", f"{gib(there.free)} GiB of {gib(there.total)} GiB free", remedy)
    else:
        yield Finding("/dev/shm", "ok", f"{gib(there.free)} GiB of {gib(there.total)} GiB free")


def open_files(facts: Facts) -> Iterator[Finding]:
    """How many files a process may have open."""
    soft, hard = facts.machine.open_files
    if soft == -1 or soft >= OPEN_FILES:
        yield Finding("open files", "ok", "no limit" if soft == -1 else str(soft))
    else:
        most = "65536" if hard == -1 else str(min(hard, 65536))
        remedy = f"ulimit -n {most}" if soft < int(most) else "raise nofile in /etc/security/limits.conf"
        yield Finding("open files", "warning", f"{soft} a process; Ray with many workers needs more", remedy)


def disks(facts: Facts) -> Iterator[Finding]:
    """Where checkpoints and models are written."""
    for what, place in facts.machine.disks.items():
        found = f"{gib(place.free)} GiB of {gib(place.total)} GiB free at {place.path} ({what})"
        if not place.writable:
            remedy = "set HF_HOME to another folder" if "hub" in what else "give another folder"
            yield Finding("disk", "error", f"{place.path} ({what}) cannot be written to", remedy)
        elif place.free < DISK_LEAST:
            yield Finding("disk", "error", found, "make room")
        elif place.free < max(DISK_FEW, DISK_SHARE * place.total):
            yield Finding("disk", "warning", found, "make room: a checkpoint of a large model takes more")
        else:
            yield Finding("disk", "ok", found)


def tmp(facts: Facts) -> Iterator[Finding]:
    """/tmp, where verl, vLLM and Ray put their sockets, and Ray what its memory does not hold."""
    place, ray = facts.machine.tmp, facts.machine.ray_folder
    found = f"{gib(place.free)} GiB of {gib(place.total)} GiB free"
    if not place.writable:
        yield Finding("/tmp", "error", "cannot be written to; verl puts its sockets there", "make it writable")
    elif place.free < DISK_LEAST:
        yield Finding("/tmp", "error", found, "make room, or set RAY_TMPDIR to another folder of a short name")
    elif place.free < DISK_SHARE * place.total:
        yield Finding("/tmp", "warning", f"{found}; Ray keeps no objects on a disk that is 95 % full", "make room")
    else:
        yield Finding("/tmp", "ok", found)
    if (length := len((ray + LONGEST).encode())) > SOCKET:
        long = f"{ray} makes sockets' names of {length} bytes; {SOCKET} are possible"
        yield Finding("sockets", "error", long, "set RAY_TMPDIR to a folder of a short name, such as /tmp")


def hub(facts: Facts) -> Iterator[Finding]:
    """The hub of models and data sets."""
    there = facts.machine.hub
    if there.offline:
        yield Finding("hub", "ok", "not asked: the environment says offline; models must be on this disk")
    elif there.fault:
        remedy = (
            "set HF_HUB_OFFLINE=1 for models that are in its cache, name models and data on this disk, or set "
            "HTTPS_PROXY, or HF_ENDPOINT to a mirror"
        )
        yield Finding("hub", "warning", f"{there.address} does not answer: {there.fault}", remedy)
    else:
        yield Finding("hub", "ok", f"{there.address} answers")


def proxies(facts: Facts) -> Iterator[Finding]:
    """Proxies, which must not come between a run's own processes."""
    environment = {name.lower(): value for name, value in facts.machine.environment.items() if value}
    given = [name for name in ("http_proxy", "https_proxy", "all_proxy") if name in environment]
    if not given:
        return
    spared = {host.strip() for host in environment.get("no_proxy", "").split(",")}
    names = ", ".join(name.upper() for name in given)
    if "*" in spared or spared >= {"localhost", "127.0.0.1"}:
        yield Finding("proxies", "ok", f"{names}, not for this machine itself")
    else:
        remedy = "set NO_PROXY=localhost,127.0.0.1 and this machine's own address"
        yield Finding("proxies", "warning", f"{names} also between a run's own processes", remedy)


def ray(facts: Facts) -> Iterator[Finding]:
    """Clusters that a run would join, and what earlier runs left."""
    if address := facts.machine.environment.get("RAY_ADDRESS"):
        yield Finding(
            "RAY_ADDRESS", "warning", f"a run joins the cluster at {address}", "unset it for a Ray of its own"
        )
    there = facts.machine.processes
    if not there:
        yield Finding("processes", "ok", "no Ray and no vLLM runs here")
        return
    some = ", ".join(f"{name} {pid}" for pid, name in sorted(there.items())[:4]) + (" ..." if len(there) > 4 else "")
    remedy = "leave them to another run that goes on; if none does, `ray stop`, or `kill` them"
    yield Finding("processes", "warning", f"running already: {some}", remedy)


def run(facts: Facts) -> Iterator[Finding]:
    """The folder of the run that is to be started."""
    there = facts.machine.run
    if there is None:
        return
    if there.in_use:
        found = f"another run writes into {there.path}"
        yield Finding("run", "error", found, "wait for its end, or give another trainer.default_local_dir")
    elif there.last_step is None:
        yield Finding("run", "ok", f"{there.path} is free; a run there starts from the beginning")
    else:
        yield Finding("run", "ok", f"{there.path} is free; a run there goes on after step {there.last_step}")

"""What ended a run, in a sentence: the cause, and what to do."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator

import torch

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DISK_WORDS = (
    r"No space left on device|Disk quota exceeded|PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+"
)
"""The last two are torch.save's: a file that could not be written to its end."""


def explain(error: BaseException) -> str:
    """What ended a run, in a sentence; of an error that is not known, its own text."""
    errors = [found for found in _chain(error) if not type(found).__name__.startswith("RayTaskError")] or [error]
    for is_it, sentence in CAUSES:
        for found in errors:
            if is_it(found):
                return sentence.format(_text(found))
    return f"{type(errors[0]).__name__}: {_text(errors[0])}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came of, the outermost first. Ray keeps a worker's error as `cause` of a `RayTaskError`,
    whose own text is a traceback."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        context = None if error.__suppress_context__ else error.__context__
        error = getattr(error, "cause", None) or error.__cause__ or context


def is_port_taken(error: BaseException) -> bool:
    """Whether it came of a port that something listens at already."""
    return any(_is_port(found) for found in _chain(error))


def _named(*names: str) -> Callable[[BaseException], bool]:
    return lambda error: type(error).__name__ in names


def _says(pattern: str) -> Callable[[BaseException], bool]:
    return lambda error: re.search(pattern, str(error)) is not None


def _text(error: BaseException) -> str:
    """Its own words, on a line; of an actor that could not start, the last of them: before stands a traceback."""
    text = str(error).strip()
    if getattr(error, "actor_init_failed", False):
        text = text.splitlines()[-1]
    return " ".join(text.split()).rstrip(".")[:500]


def _is_disk(error: BaseException) -> bool:
    full = isinstance(error, OSError) and error.errno in _DISK
    return full or _says(_DISK_WORDS)(error)


def _is_process(error: BaseException) -> bool:
    """A process of Ray's is gone; of a checkpoint that could not be written for that, Ray hands on only the text."""
    return _named(*_PROCESS)(error) or (_named("CheckpointError")(error) and _says("|".join(_PROCESS))(error))


def _is_node(error: BaseException) -> bool:
    return _named("NodeDiedError")(error) or (
        _is_process(error) and _says(r"its node (has )?died|node was dead")(error)
    )


def _is_memory(error: BaseException) -> bool:
    return _named("OutOfMemoryError")(error) or (_is_process(error) and _says("running low on memory")(error))


def _is_peer(error: BaseException) -> bool:
    return _named("DistBackendError")(error) or _says(r"gloo.*Connection (closed|reset) by peer|ncclRemoteError")(error)


def _is_port(error: BaseException) -> bool:
    """An `OSError`, or the text of one: torch's, ZeroMQ's and Ray's errors are of other types."""
    return getattr(error, "errno", None) == errno.EADDRINUSE or _says("EADDRINUSE|[Aa]ddress already in use")(error)


_PROCESS = "ActorDiedError", "ActorUnavailableError", "WorkerCrashedError", "LocalRayletDiedError", "PartDied"

CAUSES: list[tuple[Callable[[BaseException], bool], str]] = [
    (_is_disk, "the disk is full: {}. Make room, or keep fewer checkpoints (trainer.max_actor_ckpt_to_keep)"),
    (_named("RolloutEngineDied", "PartSilent", "RewardError"), "{}"),
    (_named("RewardHung"), "{}. Give the reward function a limit of its own, or raise cppo.reward_timeout"),
    (
        lambda error: isinstance(error, torch.OutOfMemoryError),
        "a GPU's memory ran out: {}. Lower ppo_max_token_len_per_gpu or gpu_memory_utilization; `cppo-verl plan` "
        "estimates",
    ),
    (
        _is_memory,
        "the machine's memory ran out, and Ray ended a process: {}. Lower the batch or the number of workers",
    ),
    (_is_node, "a node of the Ray cluster is lost: {}. Bring it back, or start without it"),
    (_is_port, "a port that was free when it was picked has been taken since: {}. Start the run again"),
    (lambda error: getattr(error, "actor_init_failed", False), "a process of the run could not start: {}"),
    (_named("ActorUnavailableError"), "a process of the run, or the node that it ran on, is lost: {}"),
    (
        _is_process,
        "a process of the run has died, killed from outside or for want of memory: {}. `dmesg` tells whether by the "
        "kernel",
    ),
    (_is_peer, "the worker of another rank, or its whole node, is lost: {}. The first error in the log is the cause"),
    (_named("CheckpointError", "SamplingFailed", "NotFinite", "NoUpdate"), "{}"),
]
"""What to look for in an error's chain, and what to say around its text; the first that fits."""

"""What a run says last when it ends before its end: the cause, what to do, and where the next start goes on."""

from __future__ import annotations

import errno
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from cppo_verl.checkpoints import Checkpoints

INTERRUPTED = 128 + signal.SIGINT
"""Exit code after Ctrl-C, as of a shell."""
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DISK_WORDS = (
    r"No space left on device|Disk quota exceeded|PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+"
)
"""The last two are torch.save's: a file that could not be written to its end."""


@contextmanager
def explained(run_folder: str | Path) -> Iterator[None]:
    """Around a run: an error ends the process with its traceback and, as the last line, `explain`'s sentence.

    Raises:
        SystemExit: Code 1, or `INTERRUPTED` after Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f"interrupted. {_way_on(run_folder)}", file=sys.stderr, flush=True)
        sys.exit(INTERRUPTED)
    except Exception as error:  # noqa: BLE001  (whatever ended the run is said, and the process fails)
        traceback.print_exc()
        sys.exit(f"error: {explain(error)}. {_way_on(run_folder)}")


def explain(error: BaseException) -> str:
    """What ended a run, in a sentence; of an error that is not known, its own text."""
    errors = [found for found in _chain(error) if not type(found).__name__.startswith("RayTaskError")] or [error]
    for is_it, sentence in CAUSES:
        for found in errors:
            if is_it(found):
                return sentence.format(_text(found))
    return f"{type(errors[-1]).__name__}: {_text(errors[-1])}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came of, the outermost first. Ray keeps a worker's error as `cause` of a `RayTaskError`,
    whose own text is a traceback."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = getattr(error, "cause", None) or error.__cause__ or error.__context__


def _named(*names: str) -> Callable[[BaseException], bool]:
    return lambda error: type(error).__name__ in names


def _says(pattern: str) -> Callable[[BaseException], bool]:
    return lambda error: re.search(pattern, str(error)) is not None


def _text(error: BaseException) -> str:
    """Its own words, on a line."""
    return " ".join(str(error).split()).rstrip(".")[:300]


def _is_disk(error: BaseException) -> bool:
    full = isinstance(error, OSError) and error.errno in _DISK
    return full or _says(_DISK_WORDS)(error)


def _is_node(error: BaseException) -> bool:
    return _named("NodeDiedError")(error) or (
        _is_process(error) and _says(r"its node (has )?died|node was dead")(error)
    )


def _is_memory(error: BaseException) -> bool:
    return _named("OutOfMemoryError")(error) or (_is_process(error) and _says("running low on memory")(error))


_is_process = _named("ActorDiedError", "ActorUnavailableError", "WorkerCrashedError", "LocalRayletDiedError")

CAUSES: list[tuple[Callable[[BaseException], bool], str]] = [
    (_is_disk, "the disk is full: {}. Make room, or keep fewer checkpoints (trainer.max_actor_ckpt_to_keep)"),
    (_named("RolloutEngineDied"), "{}"),
    (_named("RewardHung"), "{}. Give the reward function a limit of its own, or raise cppo.reward_timeout"),
    (
        lambda error: isinstance(error, torch.OutOfMemoryError),
        "a GPU's memory ran out: {}. Lower ppo_max_token_len_per_gpu or gpu_memory_utilization; dry_run=true estimates",
    ),
    (
        _is_memory,
        "the machine's memory ran out, and Ray ended a process: {}. Lower the batch or the number of workers",
    ),
    (_is_node, "a node of the Ray cluster is lost: {}"),
    (_is_process, "a process of the run has died, killed from outside or for want of memory: {}"),
    (
        _says(r"Connection closed by peer|Connection reset by peer|remote process exited|ncclRemoteError"),
        "the worker of another rank, or its whole node, is lost: {}",
    ),
    (_named("CheckpointError"), "{}"),
]
"""What to look for in an error's chain, and what to say around its text; the first that fits."""


def _way_on(run_folder: str | Path) -> str:
    last = Checkpoints(run_folder).last_complete()
    start = f"goes on after step {last.name.removeprefix('global_step_')}" if last else "starts from the beginning"
    return f"The same command, started again, {start}"

"""What a run says last when it ends before its end: the cause, what to do, and where the next start goes on."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cppo_verl.runs.causes import explain
from cppo_verl.runs.checkpoints import Checkpoints

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
"""Exit codes after Ctrl-C and after SIGTERM, as of a shell."""


class Ended(SystemExit):
    """A run has ended before its end: the process's exit code, and what was said last."""

    def __init__(self, code: int, message: str):
        super().__init__(code)
        self.message = message


@contextmanager
def explained(run_folder: str | Path, resume_mode: str = "auto") -> Iterator[None]:
    """Around a run: an error ends the process with its traceback and, as the last line, `explain`'s sentence.

    Raises:
        Ended: Code 1; `INTERRUPTED` after Ctrl-C, `TERMINATED` after SIGTERM (see `Terminable`).
    """
    try:
        yield
    except KeyboardInterrupt:
        code, what = (TERMINATED, "ended by SIGTERM") if Terminable.is_terminated else (INTERRUPTED, "interrupted")
        _end(code, f"{what}. {way_on(run_folder, resume_mode)}")
    except Exception as error:  # noqa: BLE001  (any cause gets its sentence, and the process fails)
        with suppress(OSError):  # where it goes to a file, on a disk that is full
            traceback.print_exc()
        _end(1, f"error: {explain(error)}. {way_on(run_folder, resume_mode)}")


@contextmanager
def sigterm_exits() -> Iterator[None]:
    """Within it SIGTERM raises SystemExit (`TERMINATED`), so that what this process has started can be ended first.

    In another thread than the main one, where Python hears no signals, it changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Within it SIGTERM interrupts the process as Ctrl-C does; `explained` tells them apart."""
    before = signal.signal(signal.SIGTERM, Terminable._interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Terminable:
    """A Ray actor class for verl's `run_ppo`, which starts Ray and then it: from then on SIGTERM interrupts the driver.

    Ray 2.60 sets a handler when it starts, over which its own core then sets one that aborts the process. Of what a
    handler raises while the driver waits for Ray, only KeyboardInterrupt comes out as it was.
    """

    is_terminated = False
    """Whether SIGTERM has come."""

    def __init__(self, actor, ray_is_there: Callable[[], None] = lambda: None):
        """
        Args:
            actor: The class that Ray knows.
            ray_is_there: Called when Ray has started, before the actor is.
        """
        self.actor, self.ray_is_there = actor, ray_is_there

    def options(self, **options) -> Terminable:
        """Ray's."""
        return Terminable(self.actor.options(**options), self.ray_is_there)

    def remote(self, *args):
        """Ray's."""
        self.ray_is_there()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._interrupt)
        return self.actor.remote(*args)

    @staticmethod
    def _interrupt(*_) -> None:
        Terminable.is_terminated = True
        raise KeyboardInterrupt


def _end(code: int, message: str) -> None:
    with suppress(OSError):
        print(message, file=sys.stderr, flush=True)
    raise Ended(code, message)


def way_on(run_folder: str | Path, resume_mode: str = "auto") -> str:
    """Where the next start of a run goes on, in a sentence without its full stop."""
    last = Checkpoints(run_folder).last_complete()
    again = "The same command, started again," if resume_mode == "auto" else "With trainer.resume_mode=auto it"
    step = last.name.removeprefix("global_step_") if last else None
    return f"{again} goes on after step {step}" if step else f"{again} starts from the beginning"

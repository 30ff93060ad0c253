"""The driver's side of a run that is watched: its terminal shows how it goes, and everything else is in `log.txt`."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event as Signal
from threading import Thread
from typing import TextIO

from omegaconf import DictConfig

from cppo_verl.runs.endings import Ended
from cppo_verl.runs.folder import LOG_FILE, PROGRESS_FILE
from cppo_verl.runs.notices import NOTICE
from cppo_verl.watch.display import Display
from cppo_verl.watch.log_errors import LogErrors, without_process
from cppo_verl.watch.progress import Event, Follower, read_event
from cppo_verl.watch.redirect import redirected

LOG_STARTS = "=== "
"""Before the time and the command of each start, in `log.txt`."""
POLL_SECONDS = 0.2
ERRORS_SHOWN = 5
"""In a run: what breaks tends to break in many places."""
WHOLE_LOGS = {"RAY_DEDUP_LOGS": "0", "RAY_COLOR_PREFIX": "0"}
"""Environment of a driver whose Ray hands on every line, without colours."""
_METRICS = re.compile(r"step:\d+ - ")
"""How verl's console logger begins a step's line."""


@contextmanager
def on_screen(config: DictConfig) -> Iterator[Callable[[str], None]]:
    """Around a run's launch, before Ray and verl are imported: show how the run goes.

    What the driver, its libraries and the workers print goes to `log.txt` in the run's folder, whole; of it the
    terminal shows errors and notices, and verl's line a step where `trainer.logger` has `console`. At the end, however
    it comes, the streams are as they were.

    Yields:
        What to tell what the start waits for, until the trainer tells it by `progress.jsonl`.
    """
    folder, loggers = Path(config.trainer.default_local_dir), config.trainer.logger
    (folder / PROGRESS_FILE).unlink(missing_ok=True)
    for name, value in WHOLE_LOGS.items():
        os.environ.setdefault(name, value)
    header = f"{LOG_STARTS}{time.strftime('%Y-%m-%d %H:%M:%S')}  {shlex.join(sys.argv)}\n"
    try:
        with (
            redirected(folder / LOG_FILE, header) as terminal,
            Screen(folder, terminal, has_console="console" in loggers) as screen,
        ):
            yield screen.wait_for
    except Ended as end:
        if end.code == 1:
            print(f"The log, with the traceback: {folder / LOG_FILE}", file=sys.stderr)
        print(end.message, file=sys.stderr, flush=True)
        raise


class Screen:
    """A thread that follows a run's `progress.jsonl` and `log.txt`, and shows what comes on a `Display`.

    Args:
        folder: The run's.
        terminal: Where to show it.
        has_console: Show the lines of verl's console logger too.
    """

    def __init__(self, folder: Path, terminal: TextIO, *, has_console: bool = False):
        log = folder / LOG_FILE
        self._log_file, self._has_console = log, has_console
        self._progress = Follower(folder / PROGRESS_FILE)
        self._log = Follower(log, log.stat().st_size if log.exists() else 0)
        self._errors, self._shown = LogErrors(), 0
        self._own: SimpleQueue[Event] = SimpleQueue()
        self._terminal, self._over = terminal, Signal()
        self._thread = Thread(target=self._follow, name="screen", daemon=True)

    def __enter__(self) -> Screen:
        self.wait_for("Ray")
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._thread.join()

    def wait_for(self, what: str) -> None:
        """Show that the start waits for this from now on."""
        self._own.put({"event": "waiting", "time": time.time(), "what": what})

    def _follow(self) -> None:
        is_over = False
        with suppress(OSError), Display(self._terminal) as display:  # where the terminal is closed, the run goes on
            display.line(f"Log of all processes: {self._log_file}")
            while not is_over:
                is_over = self._over.wait(POLL_SECONDS)
                self._show_news(display)
                display.draw()

    def _show_news(self, display: Display) -> None:
        while not self._own.empty():
            display.show(self._own.get())
        for event in filter(None, map(read_event, self._progress.lines())):
            display.show(event)
        for line in self._log.lines():
            if error := self._errors.read(line):
                self._show_error(display, error)
            elif (text := without_process(line)).startswith(NOTICE) or (self._has_console and _METRICS.match(text)):
                display.line(text)

    def _show_error(self, display: Display, error: str) -> None:
        self._shown += 1
        if self._shown <= ERRORS_SHOWN:
            display.line(f"error: {error}", "error")
        if self._shown == 1:
            display.line(f"       what led to it is in {self._log_file}", "error")
        elif self._shown == ERRORS_SHOWN:
            display.line(f"       more errors, if they come, are in {self._log_file} alone", "error")

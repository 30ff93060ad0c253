"""What a terminal shows of a run: its events as lines, and below them a bar. Off a terminal, the lines."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import TextIO

from rich.console import Console, ConsoleDimensions
from rich.progress import BarColumn, Progress, TextColumn

from cppo_verl.watch.event_text import describe, started
from cppo_verl.watch.progress import Event

TRAINING = "training"
WIDTH = len("saving a checkpoint")
"""Of the bar's description while it trains, so that the bar stands still."""
STYLES = {"alarm": "yellow", "error": "red"}


class Pace:
    """How long a run still takes, from the times of its last steps, and of what came between them."""

    def __init__(self):
        self._ends: deque[tuple[float, int]] = deque(maxlen=20)

    def reach(self, now: float, step: int) -> None:
        """A step has ended; the first that is told is where the training begins."""
        self._ends.append((now, step))

    def left(self, now: float, steps: int) -> float | None:
        """Seconds to the end of step `steps`; None before a step was made."""
        (first, before), (last, done) = self._ends[0], self._ends[-1]
        return max(0.0, (last - first) / (done - before) * (steps - done) - (now - last)) if done > before else None


class Display:
    """Shows events as they come; a context manager, in which the bar is drawn.

    Args:
        file: The terminal, or whatever the output goes to.
        clock: Seconds since 1970.
    """

    def __init__(self, file: TextIO, clock: Callable[[], float] = time.time):
        self._clock = clock
        self._console = _Console(file=file, force_terminal=file.isatty(), highlight=False)
        self.has_bar = self._console.is_terminal and not self._console.is_dumb_terminal
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[counts]}")
        self._bar = Progress(
            *columns, console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._task = self._bar.add_task("starting", total=None, counts="")
        self._doing, self._since = "", clock()
        self._waits: list[tuple[str, float]] = []
        self._pace = Pace()
        self._step = self._steps = self._questions = self._planned = 0

    def __enter__(self) -> Display:
        if self.has_bar:
            self._bar.start()
            self._console.show_cursor()  # a run that is killed would leave the terminal without one
        return self

    def __exit__(self, *_) -> None:
        if self.has_bar:
            self._bar.update(self._task, visible=False)
            self._bar.stop()

    def show(self, event: Event) -> None:
        """Take an event in."""
        reaction = {"waiting": self._wait, "training": self._begin, "step": self._count, "validation": self._validated}
        reaction.get(event["event"], lambda _: None)(event)
        if event["event"] == "alarm":
            self.line(f"warning: {event['text']}", "alarm")
        elif text := describe(event):
            self.line(text)
        if event["event"] not in ("waiting", "alarm", "note"):
            self._doing = event.get("what", TRAINING)

    def line(self, text: str, kind: str | None = None) -> None:
        """Print a line, as long as it is."""
        self._console.print(text, style=STYLES.get(kind), markup=False, soft_wrap=True)

    def draw(self) -> None:
        """Draw the bar as it is now."""
        if self.has_bar:
            self._bar.update(self._task, description=self._description(), counts=self._counts())
            self._bar.refresh()

    def _wait(self, event: Event) -> None:
        if self._waits and self._waits[-1][0] == event["what"]:
            return
        if event["what"] in dict(self._waits):  # it is started again
            self._waits.clear()
        self._doing, self._since = f"waiting for {event['what']}", event["time"]
        self._waits.append((event["what"], event["time"]))
        if not self.has_bar:
            self.line(self._doing)

    def _begin(self, event: Event) -> None:
        """The start is over."""
        if self._waits:
            self.line(started(self._waits, event["time"]))
        self._step, self._steps, self._planned = event["step"], event["steps"], event["questions"]
        self._questions = self._step * self._planned
        self._pace.reach(event["time"], self._step)
        self._bar.update(self._task, total=self._steps, completed=self._step)
        if self._step:
            self.line(f"resuming after step {self._step} of {self._steps}")

    def _count(self, event: Event) -> None:
        self._step = event["step"]
        self._questions += event.get("questions", self._planned)
        self._pace.reach(event["time"], self._step)
        self._bar.update(self._task, completed=self._step)

    def _validated(self, event: Event) -> None:
        """One before the training is no part of its pace."""
        if event["step"] == 0:
            self._pace = Pace()
            self._pace.reach(event["time"], 0)

    def _description(self) -> str:
        if self._steps:
            is_over = self._doing == TRAINING and self._step >= self._steps
            return f"{'finishing' if is_over else self._doing:{WIDTH}}"
        return f"{self._doing} ({self._clock() - self._since:.0f} s)"

    def _counts(self) -> str:
        if not self._steps:
            return ""
        left = self._pace.left(self._clock(), self._steps)
        time_left = "" if left is None else f", {timedelta(seconds=round(left))} left"
        return f"{self._step} of {self._steps} steps, {self._questions:.0f} questions{time_left}"


class _Console(Console):
    """As wide as its own terminal: rich asks the process's standard streams, which may be something else."""

    @property
    def size(self) -> ConsoleDimensions:
        """Columns and lines."""
        try:
            return ConsoleDimensions(*os.get_terminal_size(self.file.fileno()))
        except OSError:
            return ConsoleDimensions(80, 25)

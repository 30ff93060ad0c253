"""`progress.jsonl`: what a run is doing, told by its trainer while it happens, read by the driver's screen.

An event is a line of JSON with `event`, `time` (seconds since 1970) and, by `event`:

| event | fields |
| --- | --- |
| `waiting` | `what` the start waits for from now on |
| `training` | `step` that it goes on from, `steps` of the whole run, `questions` of a step; the start is over |
| `busy` | `what` keeps it from training for a while, until that has its own event |
| `step` | see `step_event` |
| `validation` | `step`, `seconds`, `accuracy`, `questions`, `best`: whether it is, where the best checkpoint is kept |
| `checkpoint` | `step`, `seconds`, `path` |
| `alarm` | `text` |
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from cppo_verl.runs.folder import PROGRESS_FILE

TRAINING_STAGES = "old_log_prob", "ref", "values", "update_critic", "update_actor"
"""verl's timers of what follows the sampling."""
Event = dict[str, Any]


class ProgressLog:
    """The trainer's side, which starts the file anew."""

    def __init__(self, run_folder: str | Path):
        self._path = Path(run_folder) / PROGRESS_FILE
        self._file: BinaryIO | None = None

    def tell(self, event: str, **fields) -> None:
        """Append an event. A disk that is full ends a run elsewhere, not here."""
        line = json.dumps({"event": event, "time": time.time(), **fields}, default=float) + "\n"
        with suppress(OSError):
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.unlink(missing_ok=True)  # a new file: who follows the old one sees that it is another
                self._file = self._path.open("ab", buffering=0)
            self._file.write(line.encode())


class Follower:
    """Reads the lines of a file as they are written, also of one that is not there yet or is replaced."""

    def __init__(self, path: Path, position: int = 0):
        self._path, self._position = path, position
        self._file: BinaryIO | None = None
        self._rest = b""

    def lines(self) -> Iterator[str]:
        """The whole lines since the last call."""
        yield from self._read()
        if self._is_replaced():
            self.close()
            yield from self._read()

    def close(self) -> None:
        """Close the file; the next call reads the one that is there then, from its beginning."""
        if self._file:
            self._file.close()
        self._file, self._rest, self._position = None, b"", 0

    def _read(self) -> Iterator[str]:
        if self._file is None:
            try:
                self._file = self._path.open("rb")
            except OSError:
                return
            self._file.seek(self._position)
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)

    def _is_replaced(self) -> bool:
        try:
            return self._file is not None and not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except OSError:  # it is gone, and the new one is not there yet
            return False


def read_event(line: str) -> Event | None:
    """An event; None where the line cannot be read."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def step_event(step: int, steps: int, metrics: Mapping[str, float], seconds: Mapping[str, float]) -> Event:
    """Fields of a `step`, as far as they are known.

    Args:
        step: From 1.
        steps: Of the whole run.
        metrics: As verl logs them, with `cppo/*`.
        seconds: Of each of verl's timers.
    """
    named = {
        "questions": "cppo/questions",
        "reward": "cppo/sampled/reward",
        "accuracy": "cppo/sampled/accuracy",
        "length": "cppo/sampled/response_length",
        "kept": "cppo/completions_kept",
        "sampled": "cppo/completions_sampled",
        "zero_variance": "cppo/zero_variance_questions",
    }
    fields = {name: metrics[key] for name, key in named.items() if key in metrics}
    training = sum(seconds.get(stage, 0.0) for stage in TRAINING_STAGES)
    return {"step": step, "steps": steps, **fields, "generation_s": seconds.get("gen", 0.0), "training_s": training}

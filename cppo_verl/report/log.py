"""`metrics.jsonl` of a run, read however it ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from cppo_verl.runs.folder import METRICS_FILE
from cppo_verl.runs.metrics_log import read_entry

TRAINED = "training/global_step"
"""Every training step logs it; a validation before training does not."""


@dataclass(frozen=True)
class Log:
    """What a metrics file says."""

    metrics: pd.DataFrame
    """A row a step, in order; columns as logged, NaN where a step did not log one. Step 0 holds the validation
    before training."""

    unreadable: tuple[int, ...] = ()
    """Numbers of the lines passed over, from 1, but for an unfinished last one."""

    unfinished: bool = False
    """The last line breaks off."""

    resumed_after: tuple[int, ...] = ()
    """Steps after which the run was started again, as far as the file shows."""


def read_metrics(folder: Path) -> pd.DataFrame:
    """The metrics of a run folder, a row a step; see `read_log`."""
    return read_log(folder).metrics


def read_log(folder: Path) -> Log:
    """Read a run folder's `metrics.jsonl`; see `read_lines`."""
    return read_lines(folder / METRICS_FILE)


def read_lines(file: Path) -> Log:
    """Read what verl's file logger wrote, a line a step.

    See `log_of` for what becomes of a run that was resumed.
    """
    lines = file.read_bytes().splitlines(keepends=True)
    entries = [read_entry(line) for line in lines]
    unfinished = bool(lines) and entries[-1] is None and not lines[-1].endswith(b"\n")
    unreadable = [number for number, entry in enumerate(entries, 1) if entry is None]
    log = log_of(filter(None, entries))
    return replace(log, unreadable=tuple(unreadable[:-1] if unfinished else unreadable), unfinished=unfinished)


def log_of(entries: Iterable[tuple[int, dict]]) -> Log:
    """The log that these steps and their metrics make.

    A resumed run's validation before training is merged into its step. Where training goes back to an earlier
    step, what stood there from that step on is forgotten: the run goes on from there.
    """
    steps: dict[int, dict] = {}
    resumed: list[int] = []
    last = 0  # trained step
    for step, data in entries:
        if TRAINED in data and step <= last:
            resumed.append(step - 1)
            steps = {earlier: known for earlier, known in steps.items() if earlier < step}
        elif TRAINED not in data and TRAINED in steps.get(step, {}):
            resumed.append(step)
        last = step if TRAINED in data else last
        steps.setdefault(step, {}).update(data)
    frame = pd.DataFrame.from_dict(steps, orient="index").sort_index()
    return Log(frame.apply(pd.to_numeric, errors="coerce"), resumed_after=tuple(dict.fromkeys(resumed)))

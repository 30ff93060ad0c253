"""`metrics.jsonl` of a run, across resumes."""

from __future__ import annotations

import json
import os
from pathlib import Path

from cppo_verl.files import write_whole

METRICS_FILE = "metrics.jsonl"
BEFORE = "metrics.jsonl.before"
"""Copy of the lines of earlier starts, from before verl opens its file until they stand in it again."""


class MetricsLog:
    """Keeps what earlier starts of a run logged.

    verl 0.9.1's file logger opens its file anew at every start. The lines are copied before it does, and
    those up to the step that was resumed from are written back, so that each training step stands there once. The
    copy stays until then: a start that fails or is killed while it loads the checkpoint loses none.
    """

    def __init__(self, run_folder: str):
        path = Path(run_folder) / METRICS_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        os.environ["VERL_FILE_LOGGER_PATH"] = str(path)
        self._copy = path.with_name(BEFORE)
        if path.exists() and not self._copy.exists():
            write_whole(self._copy, path.read_bytes())

    def keep_until(self, step: int, tracking) -> bool:
        """Write the earlier lines of steps below `step` + 1 to verl's file logger, when there is one.

        A line that a killed run left unfinished, or that cannot be read, is dropped.

        Returns:
            Whether `step` has a line, or there is no file to have it.
        """
        logger, last = tracking.logger.get("file"), None
        if logger and step and self._copy.exists():
            for line in self._copy.read_bytes().splitlines(keepends=True):
                entry = read_entry(line)
                if entry and line.endswith(b"\n") and entry[0] <= step:
                    logger.fp.write(line)
                    last = entry[0]
            logger.fp.flush()
        if logger:
            self._copy.unlink(missing_ok=True)
        return last == step or not logger


def read_entry(line: bytes) -> tuple[int, dict] | None:
    """Step and metrics of a line; None where it cannot be read."""
    try:
        entry = json.loads(line)
    except ValueError:  # also bytes that are no UTF-8
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("data"), dict) or type(entry.get("step")) is not int:
        return None
    return entry["step"], entry["data"]

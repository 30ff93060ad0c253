"""`metrics.jsonl` of a run, across resumes."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

from cppo_verl.runs.files import write_whole
from cppo_verl.runs.folder import METRICS_FILE
from cppo_verl.runs.notices import notice

BEFORE = "metrics.jsonl.before"
"""Copy of the lines of earlier starts, from before verl opens its file until they stand in it again."""


def log_validation(run_folder: str) -> Path:
    """Make verl's file logger of a run that only validates write to the first `validation_N.jsonl` that is not there,
    and its TensorBoard logger to a folder of that name: what the run and other validations logged stays as it is."""
    folder = Path(run_folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = _first_free(folder, "validation")
    os.environ["VERL_FILE_LOGGER_PATH"], os.environ["TENSORBOARD_DIR"] = str(path), str(path.with_suffix(""))
    return path


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
        self._kept = b""
        if path.exists() and not self._copy.exists():
            write_whole(self._copy, path.read_bytes())

    def keep_until(self, step: int, goes_back: bool = False) -> bool:
        """Choose the earlier lines that stay: those of steps up to `step`, none for a new run (step 0).

        A line that a killed run left unfinished, or that cannot be read, is dropped.

        Args:
            step: From which the run goes on.
            goes_back: It was told to: the whole earlier log is kept beside the new one.

        Returns:
            Whether `step` has a line.
        """
        lines = self._copy.read_bytes().splitlines(keepends=True) if step and self._copy.exists() else []
        entries = [(read_entry(line), line) for line in lines if line.endswith(b"\n")]
        kept = [(entry[0], line) for entry, line in entries if entry and entry[0] <= step]
        self._kept = b"".join(line for _, line in kept)
        if goes_back and self._copy.exists() and self._copy.read_bytes() != self._kept:
            earlier = _first_free(self._copy.parent, "metrics.earlier")
            write_whole(earlier, self._copy.read_bytes())
            notice(f"the log of what this run did after step {step} is kept in {earlier}")
        return bool(kept) and kept[-1][0] == step

    def write_back(self, tracking) -> None:
        """Write the lines that stay to verl's file logger, when there is one."""
        if logger := tracking.logger.get("file"):
            logger.fp.write(self._kept)
            logger.fp.flush()
            self._kept = b""
            self._copy.unlink(missing_ok=True)


def _first_free(folder: Path, name: str) -> Path:
    paths = (folder / f"{name}_{number}.jsonl" for number in itertools.count(1))
    return next(path for path in paths if not path.exists())


def read_entry(line: bytes) -> tuple[int, dict] | None:
    """Step and metrics of a line; None where it cannot be read."""
    try:
        entry = json.loads(line)
    except ValueError:  # also bytes that are no UTF-8
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("data"), dict) or type(entry.get("step")) is not int:
        return None
    return entry["step"], entry["data"]

"""A run's checkpoints on disk, `RUN/global_step_N`: which are complete, which one a run goes on from, how many stay.

verl 0.9.1 takes the folder that its tracker file names as it is, whole or not, trains from scratch where that folder
is gone, and with a keep-limit deletes the old weights before the new checkpoint's last files are written. Here a
checkpoint is complete once `complete.json` lists its files, which is written last; until then it holds `unfinished`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import is_zipfile

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.runs.files import write_whole
from cppo_verl.runs.notices import notice

LATEST = "latest_checkpointed_iteration.txt"
"""verl's tracker of the last checkpoint, in a run's folder."""
COMPLETE = "complete.json"
"""In a checkpoint: its files and their sizes in bytes."""
UNFINISHED = "unfinished"
"""Stands in a checkpoint until it is complete: verl's tracker names it before."""
BEST = "best.json"
"""In a run's `best` folder: the best step and its accuracy."""
INCOMPLETE, ABANDONED = "incomplete", "abandoned"
"""Folders of a run that checkpoints are moved to: those that are not complete, and those of later steps than the one
that it was told to go on from."""


class CheckpointError(RuntimeError):
    """A checkpoint that could not be written; the message says which, and why."""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        run_folder: The run's.
        keep: How many of the latest stay; None keeps all.
    """

    def __init__(self, run_folder: str | Path, keep: int | None = None):
        self.folder, self.keep = Path(run_folder), keep

    @contextmanager
    def saving(self, step: int) -> Iterator[Path]:
        """Around the writing of a step's checkpoint into the folder that it gives: afterwards it is complete, and
        older ones than `keep` are gone.

        What an earlier start saved as this step is removed first: verl would write into its files, and `best` may
        share them.

        Raises:
            CheckpointError: It could not be written. The older ones are as they were.
        """
        folder = self.folder / f"global_step_{step}"
        _remove(folder)
        try:
            folder.mkdir(parents=True)
            write_whole(folder / UNFINISHED, "")
            yield folder
            mark_complete(folder)
        except Exception as error:  # from workers, Ray or the disk, of any kind; raised again with what to do
            raise CheckpointError(self._not_written(folder, error)) from error
        self._rotate(step)

    def recover(self) -> Path | None:
        """The checkpoint to go on from: the latest complete one, up to the step that the tracker names.

        The tracker is made to name it. Later folders that are not complete are moved to `incomplete/`, and said.
        Returns None, with a notice, where there are checkpoints but none is complete; None where there are none.
        """
        tracked, folders = self._tracked(), self._latest_first()
        for folder in folders:
            if why := fault(folder, tracked):
                self._set_aside(folder, INCOMPLETE, f"is not complete ({why})")
            elif tracked is None or step_of(folder) <= tracked:
                write_whole(self.folder / LATEST, str(step_of(folder)))
                return folder
        if folders:
            notice(f"{self.folder} has no complete checkpoint: the run starts from the beginning")
        (self.folder / LATEST).unlink(missing_ok=True)
        return None

    def go_back_to(self, step: int) -> None:
        """Leave behind what the run did after `step`, from which it was told to go on (0: from the beginning).

        Later checkpoints are moved to `abandoned/`, and said; the tracker names `step`, where this run has that one.
        """
        for folder in self._latest_first():
            if step_of(folder) > step:
                self._set_aside(folder, ABANDONED, f"is of a step after {step}, from which this run goes on")
        if (self.folder / f"global_step_{step}").is_dir():
            write_whole(self.folder / LATEST, str(step))
        else:
            (self.folder / LATEST).unlink(missing_ok=True)

    def last_complete(self) -> Path | None:
        """The checkpoint that `recover` would go on from; nothing is moved."""
        tracked = self._tracked()
        whole = (folder for folder in self._latest_first() if not fault(folder, tracked))
        return next((folder for folder in whole if tracked is None or step_of(folder) <= tracked), None)

    def _tracked(self) -> int | None:
        try:
            return int((self.folder / LATEST).read_text())
        except (OSError, ValueError):  # none, or a kill or a full disk left it empty
            return None

    def _latest_first(self) -> list[Path]:
        folders = (path for path in self.folder.glob("global_step_*") if path.name[12:].isdigit())
        return sorted(folders, key=step_of, reverse=True)

    def _set_aside(self, folder: Path, where: str, why: str) -> None:
        target = self.folder / where / folder.name
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{folder.name}_{number}")
        target.parent.mkdir(exist_ok=True)
        folder.rename(target)
        notice(f"{folder} {why}: moved to {target}, which may be deleted")

    def _rotate(self, step: int) -> None:
        upto = [folder for folder in self._latest_first() if step_of(folder) <= step]
        for old in upto[self.keep :] if self.keep else []:
            _remove(old)

    def _not_written(self, folder: Path, error: Exception) -> str:
        cause = getattr(error, "cause", None) or error  # Ray wraps a worker's error
        free = shutil.disk_usage(self.folder).free / 2**30
        return (
            f"the checkpoint {folder} could not be written ({free:.1f} GiB free there): {type(cause).__name__}: {cause}"
        )


def find_checkpoint(folder: Path) -> Path:
    """The `global_step_N` that a folder is or points to.

    Raises:
        ConfigError: It holds no checkpoint of a run.
    """
    chosen = folder
    if (folder / LATEST).is_file():
        chosen = folder / f"global_step_{(folder / LATEST).read_text().strip()}"
    elif (folder / BEST).is_file():
        chosen = folder / f"global_step_{json.loads((folder / BEST).read_text())['step']}"
    if not chosen.name.startswith("global_step_") or not (chosen / "actor/fsdp_config.json").is_file():
        raise ConfigError(
            f"model={folder}: neither a model (no config.json) nor a run's checkpoint "
            f"(no global_step_N/actor/fsdp_config.json); is the run without trainer.save_freq?"
        )
    return chosen


def step_of(folder: Path) -> int:
    """N of `global_step_N`."""
    return int(folder.name.removeprefix("global_step_"))


def mark_complete(folder: Path) -> None:
    """Write `complete.json`, when all else is on the disk: older checkpoints go after it, and a machine may stop."""
    for path in (*folder.rglob("*"), folder):
        _sync(path)
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != UNFINISHED)
    sizes = {str(file.relative_to(folder)): file.stat().st_size for file in files}
    write_whole(folder / COMPLETE, json.dumps(sizes, indent=1))
    (folder / UNFINISHED).unlink(missing_ok=True)
    _sync(folder)


def fault(folder: Path, tracked: int | None = None) -> str | None:
    """Why a checkpoint is not complete; None if it is.

    Args:
        folder: A `global_step_N`.
        tracked: The step that the run's tracker names. Up to it, a checkpoint without `complete.json` (of verl's
            own trainer) is taken for complete if its last file can be read.
    """
    listing = folder / COMPLETE
    if not listing.is_file():
        of_verl = tracked is not None and step_of(folder) <= tracked and not (folder / UNFINISHED).exists()
        last = "data.pt" if (folder / "actor").is_dir() else "data_0.pt"  # of a training, of a supervised one
        complete = of_verl and is_zipfile(folder / last)
        return None if complete else f"it has no {COMPLETE}"
    try:
        sizes = json.loads(listing.read_text())
    except ValueError:
        sizes = None
    if not isinstance(sizes, dict):
        return f"{COMPLETE} cannot be read"
    for name, size in sizes.items():
        if not (folder / name).is_file():
            return f"{name} is gone"
        if (found := (folder / name).stat().st_size) != size:
            return f"{name} has {found} bytes instead of {size}"
    return None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    """Delete a checkpoint; a kill in the middle leaves nothing that has a checkpoint's name."""
    going = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(going, ignore_errors=True)
    if folder.is_dir():
        folder.rename(going)
        shutil.rmtree(going)

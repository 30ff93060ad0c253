"""Where a run writes: its folder, room for its checkpoints, and the checkpoint that it is told to go on from."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.hardware.estimates import bytes_of_checkpoints, checkpoint_bytes, checkpoints_at_most, read_model
from cppo_verl.hardware.memory import GIB
from cppo_verl.preflight.data import planned_steps
from cppo_verl.preflight.plan import queue_bytes
from cppo_verl.runs.checkpoints import COMPLETE, Checkpoints, fault, step_of

STEP_FOLDER = r"(^|/)global_step_[0-9]+$"
"""End of a checkpoint's path."""


def resume_faults(config: DictConfig, mode: str | None = None) -> Iterator[str]:
    """No whole checkpoint where a run is told to go on from one; `mode` where it is not `trainer.resume_mode`."""
    trainer, given = config.trainer, config.trainer.resume_from_path
    if (mode or trainer.resume_mode) != "resume_path":
        return
    folder = Path(given or "")
    if not re.search(STEP_FOLDER, given or ""):  # verl takes the step from the end of it
        yield f"trainer.resume_from_path={given} is no checkpoint; give the path of a global_step_N, no / at its end"
    elif not folder.is_dir():
        yield f"trainer.resume_from_path={folder} is not there; trainer.resume_mode=auto takes the run's latest"
    elif why := fault(folder, tracked=step_of(folder)):
        yield f"trainer.resume_from_path={folder} is not complete ({why}); trainer.resume_mode=auto takes the last one"


def foreign_faults(config: DictConfig) -> Iterator[str]:
    """A checkpoint of another trainer than ours, or of another kind of run, where one is to be gone on from."""
    last = _loaded(config)
    if last is None or not last.is_dir():
        return
    if not (last / COMPLETE).is_file() and not fault(last, tracked=step_of(last)):
        yield (
            f"{last} is of verl's own trainer, which counts steps and its place in the data in batches of its own; "
            f"start a new run from its weights: `cppo-verl export {last}`, and "
            "actor_rollout_ref.model.path=the folder that it names, with trainer.resume_mode=disable or another "
            "trainer.default_local_dir"
        )
    if config.critic.enable and not (last / "critic").is_dir():
        yield f"{last} has no critic, with which this run trains (critic.enable=true); start a new run from its weights"


def _loaded(config: DictConfig) -> Path | None:
    """The checkpoint that a run goes on from."""
    trainer = config.trainer
    if trainer.resume_mode == "resume_path":
        given = trainer.resume_from_path or ""
        return Path(given) if re.search(STEP_FOLDER, given) else None
    return Checkpoints(trainer.default_local_dir).last_complete() if trainer.resume_mode == "auto" else None


def carried_faults(config: DictConfig) -> Iterator[str]:
    """A checkpoint with questions that an asynchronous trainer was sampling, where another would leave them out."""
    trainer = config.trainer
    if trainer.val_only or (trainer.use_v1 and trainer.v1.trainer_mode != "cppo_sync"):
        return
    last = _loaded(config)
    if last and (last / "transfer_queue").is_dir():
        yield (
            f"{last} is of an asynchronous trainer (trainer.v1.trainer_mode) and holds questions that were being "
            "sampled, which this trainer would leave out; go on with that one, or give another "
            "trainer.default_local_dir"
        )


def folder_faults(config: DictConfig) -> Iterator[str]:
    """A run folder that cannot be made."""
    there = _nearest_there(Path(config.trainer.default_local_dir))
    if not there.is_dir():
        yield f"trainer.default_local_dir={config.trainer.default_local_dir}: {there} is a file; give another folder"


def room_faults(config: DictConfig) -> Iterator[str]:
    """Too little room for the checkpoints of a run."""
    if config.trainer.save_freq <= 0 or config.dry_run or config.trainer.val_only:
        return
    model, folder = config.actor_rollout_ref.model, Path(config.trainer.default_local_dir)
    try:
        weights = checkpoint_bytes(config, read_model(model.path, trust_remote_code=model.trust_remote_code))
    except ConfigError:
        raise
    except ValueError:  # a model of a kind that transformers cannot lay out without its weights
        return
    each = weights + queue_bytes(config)
    there, at_most = _nearest_there(folder), checkpoints_at_most(config, planned_steps(config))
    needed, free = at_most * each - bytes_of_checkpoints(folder), shutil.disk_usage(there).free
    if free < needed:
        keep = config.trainer.max_actor_ckpt_to_keep
        yield (
            f"a checkpoint of this run takes about {each / GIB:.1f} GiB, and with trainer.max_actor_ckpt_to_keep="
            f"{keep} there are up to {at_most} at a time (an old one goes once the new one is complete): "
            f"{needed / GIB:.1f} GiB more, and {there} has {free / GIB:.1f} GiB free; make room, keep fewer, give "
            "another trainer.default_local_dir, or save none: trainer.save_freq=-1"
        )


def _nearest_there(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())

"""What a start goes on from, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from cppo_verl.preflight import outputs
from cppo_verl.runs.checkpoints import Checkpoints, step_of

SHARDS = "model_world_size_*_rank_0.pt"
"""Of a checkpoint of verl's FSDP engine."""


def goes_on_from(config: DictConfig) -> str:
    """`auto`, `disable` or `resume_path`: verl's SFT trainer takes a path also with `auto`."""
    mode = config.trainer.resume_mode
    return "resume_path" if mode == "auto" and config.trainer.resume_from_path else mode


def resume_faults(config: DictConfig) -> Iterator[str]:
    """A checkpoint that is not there, not whole, or of another number of ranks than the run has."""
    trainer, mode = config.trainer, goes_on_from(config)
    if mode not in ("auto", "disable", "resume_path"):
        yield f"trainer.resume_mode={mode}: verl knows auto, disable and resume_path"
        return
    faults = list(outputs.resume_faults(config, mode))
    yield from faults
    if mode == "disable" or faults:
        return
    last = Path(trainer.resume_from_path) if mode == "resume_path" else None
    last = last or Checkpoints(trainer.default_local_dir).last_complete()
    shards = {int(path.stem.split("_")[3]) for path in (last.glob(SHARDS) if last else ())}
    if shards and trainer.n_gpus_per_node not in shards:
        yield (
            f"{last} is of {max(shards)} rank(s), but trainer.n_gpus_per_node={trainer.n_gpus_per_node}; set it to "
            f"{max(shards)}, or give another trainer.default_local_dir"
        )


def leave_behind(config: DictConfig) -> None:
    """Set aside what the run does not go on from: checkpoints that are not complete, and those of later steps than the
    one that it is told to go on from."""
    checkpoints, mode = Checkpoints(config.trainer.default_local_dir), goes_on_from(config)
    if mode == "auto":
        checkpoints.recover()
    else:
        checkpoints.go_back_to(step_of(Path(config.trainer.resume_from_path)) if mode == "resume_path" else 0)

"""One wandb run for all starts of a run: its id is kept in the run's folder."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig

from cppo_verl.runs.checkpoints import Checkpoints
from cppo_verl.runs.files import write_whole

RUN_ID_FILE = "wandb_run_id.txt"
"""In a run's folder."""
LOGGERS = {"wandb", "tracking"}
"""verl's names of wandb in `trainer.logger`."""


def wandb_environment(
    trainer: DictConfig, environment: Mapping[str, str], resume_mode: str | None = None
) -> dict[str, str]:
    """What to give to the process that logs, so that a resumed run goes on in its wandb run; nothing without wandb, nor
    for a validation alone, which gets a wandb run of its own.

    A start that trains from the beginning, or from a step before the run's last checkpoint, gets a new id: wandb drops
    what is logged for steps that its run is past.

    Args:
        trainer: The config's `trainer`.
        environment: Whose `WANDB_RUN_ID` and `WANDB_RESUME` go first.
        resume_mode: As the run takes it; by default as it is set.
    """
    loggers = [trainer.logger] if isinstance(trainer.logger, str) else trainer.logger
    if LOGGERS.isdisjoint(loggers) or trainer.get("val_only"):
        return {}
    file = Path(trainer.default_local_dir) / RUN_ID_FILE
    known = file.read_text().strip() if file.is_file() and _goes_on(trainer, resume_mode or trainer.resume_mode) else ""
    run_id = environment.get("WANDB_RUN_ID") or known or uuid.uuid4().hex[:12]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, run_id)
    return {"WANDB_RUN_ID": run_id, "WANDB_RESUME": environment.get("WANDB_RESUME") or "allow"}


def _goes_on(trainer: DictConfig, resume_mode: str) -> bool:
    """Whether the start goes on from the run's last checkpoint."""
    last = Checkpoints(trainer.default_local_dir).last_complete()
    if last is None or resume_mode == "disable":
        return False
    return resume_mode == "auto" or last.resolve() == Path(trainer.resume_from_path).resolve()

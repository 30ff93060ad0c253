"""Whether the checkpoint that a run would go on from is its own: another run may have written into the same folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig

from cppo_verl.runs.checkpoints import Checkpoints
from cppo_verl.runs.identity import IDENTITY, identity, read_identity


def changed_faults(config: DictConfig, keys: Sequence[str] = IDENTITY) -> Iterator[str]:
    """Settings by which a run would silently go on from another run's checkpoint, in a folder that both are given."""
    trainer = config.trainer
    if trainer.resume_mode != "auto" or trainer.get("val_only") or config.get("dry_run"):
        return
    last = Checkpoints(trainer.default_local_dir).last_complete()
    if last is None:
        return
    before, now = read_identity(last, keys), identity(config, keys)
    if changed := [key for key in keys if key in before and before[key] != now.get(key)]:
        settings = ", ".join(f"{key}={_said(now.get(key))} (it: {_said(before[key])})" for key in changed)
        yield (
            f"{last} is of a run with other settings, and would be gone on from: {settings}; name this run, "
            "trainer.experiment_name=NAME, or go on from that checkpoint on purpose, once: "
            f"trainer.resume_mode=resume_path trainer.resume_from_path={last.absolute()}, and then without these two"
        )


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

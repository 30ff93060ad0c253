"""Whether the checkpoint that a run would go on from is its own: another run may have written into the same folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cppo_verl.runs.checkpoints import Checkpoints
from cppo_verl.runs.folder import CONFIG_FILE

IDENTITY = (
    "actor_rollout_ref.model.path",
    "data.train_files",
    "data.train_batch_size",
    "actor_rollout_ref.rollout.n",
    "algorithm.adv_estimator",
    *(f"cppo.{option}" for option in ("pruning_rate", "metric", "scope", "allocation", "mini_batch", "zero_variance")),
)
"""What makes a training run another run. Others, such as the number of epochs, may change from start to start."""
SFT_IDENTITY = ("model.path", "data.train_files", "data.train_batch_size")
"""The same of a supervised warm start."""


def changed_faults(config: DictConfig, identity: Sequence[str] = IDENTITY) -> Iterator[str]:
    """Settings by which a run would silently go on from another run's checkpoint, in a folder that both are given."""
    trainer = config.trainer
    saved = Path(trainer.default_local_dir) / CONFIG_FILE
    if trainer.resume_mode != "auto" or trainer.get("val_only") or not saved.is_file():
        return
    last = Checkpoints(trainer.default_local_dir).last_complete()
    if last is None:
        return
    before = OmegaConf.load(saved)
    changed = [(key, _value(before, key), _value(config, key)) for key in identity]
    changed = [(key, was, now) for key, was, now in changed if was is not None and was != now]
    if changed:
        settings = ", ".join(f"{key}={_said(now)} (it: {_said(was)})" for key, was, now in changed)
        yield (
            f"{last} is of a run with other settings, and would be gone on from: {settings}; name this run, "
            "trainer.experiment_name=NAME, or go on from that checkpoint on purpose: trainer.resume_mode=resume_path "
            f"trainer.resume_from_path={last}"
        )


def _value(config: DictConfig, key: str) -> Any:
    value = OmegaConf.select(config, key)
    value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return [value] if key.endswith("_files") and isinstance(value, str) else value


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else ",".join(value) if isinstance(value, list) else str(value)

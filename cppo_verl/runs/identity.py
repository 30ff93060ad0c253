"""What makes a run another run: noted in each of its checkpoints, so that no other goes on from one unasked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from cppo_verl.algorithm.options import as_written
from cppo_verl.runs.files import write_whole
from cppo_verl.runs.folder import CONFIG_FILE

IDENTITY_FILE = "run.json"
"""In a checkpoint."""
REWARD, RATE = "reward.custom_reward_function", "cppo.pruning_rate"
IDENTITY = (
    *("actor_rollout_ref.model.path", "data.train_files", "data.train_batch_size", "data.seed", REWARD),
    "actor_rollout_ref.rollout.n",
    *("algorithm.adv_estimator", "algorithm.norm_adv_by_std_in_grpo", "actor_rollout_ref.actor.policy_loss.loss_mode"),
    *(RATE, "cppo.metric", "cppo.scope", "cppo.allocation", "cppo.mini_batch", "cppo.lr_scale"),
    *("cppo.zero_variance", "cppo.seed"),
)
"""Options of a training run. All others, such as the number of epochs, may change from start to start."""
SFT_IDENTITY = ("model.path", "data.train_files")
"""The same of a supervised warm start."""


def identity(config: DictConfig, keys: Sequence[str] = IDENTITY) -> dict[str, Any]:
    """The values of the options that the config has, as plain values.

    Files are named so that a copy of them elsewhere is the same: a model by its name, data by file and folder.
    """
    found = {key: OmegaConf.select(config, key, default=keys) for key in keys}  # `keys`: no value that a config has
    return {key: _plain(key, value) for key, value in found.items() if value is not keys}


def write_identity(checkpoint: Path, config: DictConfig) -> None:
    """Note in a checkpoint whose it is."""
    write_whole(checkpoint / IDENTITY_FILE, json.dumps(identity(config), indent=1))


def read_identity(checkpoint: Path, keys: Sequence[str] = IDENTITY) -> dict[str, Any]:
    """Whose a checkpoint is: as noted in it, else by the run folder's config; empty where there is none to read."""
    noted, config = checkpoint / IDENTITY_FILE, checkpoint.parent / CONFIG_FILE
    if noted.is_file():
        return json.loads(noted.read_text())
    try:
        return identity(OmegaConf.load(config), keys)
    except (OSError, yaml.YAMLError):
        return {}


def _plain(key: str, value: Any) -> Any:
    if key == REWARD:
        own = OmegaConf.select(value, "reward_kwargs.own") or value  # behind what checks its results
        return f"{PurePosixPath(own.path or '').name}:{own.name or 'compute_score'}"
    if key.endswith("model.path"):
        return _model(str(value))
    if key.endswith("_files"):
        files = [value] if isinstance(value, str) else list(value or ())
        return ["/".join(PurePosixPath(file).parts[-2:]) for file in files]
    if key == RATE:
        return float(as_written(value))
    return value


def _model(path: str) -> str:
    """The last part of a path or of a hub's id, also of a snapshot in the hub's cache; of a checkpoint's model
    (`RUN/global_step_N/actor/huggingface`) the run and the step too.
    """
    parts = PurePosixPath(path).parts
    cached = [part.rpartition("--")[2] for part in parts if part.startswith("models--")]
    if parts[-1:] == ("huggingface",):
        return "/".join(parts[-4:])
    return (cached or parts or ("",))[-1]

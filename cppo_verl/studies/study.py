"""A study: the arms of an ablation, and the matrix of runs that they make with the seeds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.config.compose import compose
from cppo_verl.config.sources import meant, recipes
from cppo_verl.preflight.data import SPLITS, paths, planned_steps
from cppo_verl.runs.folder import CONFIG_FILE, DONE


@dataclass(frozen=True)
class Study:
    """What is compared."""

    name: str
    about: str
    """What it repeats of the paper."""
    arms: dict[str, list[str]]
    """Name of an arm to its Hydra overrides; the first is the one that ratios are relative to."""


@dataclass(frozen=True)
class Run:
    """One run of a study."""

    name: str
    arm: str
    seed: int
    config: DictConfig

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.config.trainer.default_local_dir)


def find_study(study: str) -> Study:
    """A shipped study by its name, or any by its file.

    Raises:
        ConfigError: There is none, or the file has no arms.
    """
    shipped = {path.stem: path for path in sorted(recipes().glob("*/studies/*.yaml"))}
    path = Path(study) if study.endswith(".yaml") else shipped.get(study)
    if not (path and path.is_file()):
        near = meant(study, shipped)
        raise ConfigError(f"no study {study!r}{near}; there are {', '.join(shipped)}, or give a .yaml file")
    content = OmegaConf.to_container(OmegaConf.load(path))
    if not isinstance(content, dict) or not content.get("arms"):
        raise ConfigError(f"{path} has no arms: name them, each with a list of key=value")
    return Study(path.stem, content.get("about", ""), {str(k): list(v or []) for k, v in content["arms"].items()})


def plan_runs(study: Study, seeds: Sequence[int], overrides: Sequence[str], out: Path) -> list[Run]:
    """Every arm with every seed; all arms of a seed before the next seed, so that a part is a comparison too.

    Raises:
        ConfigError: The names of two arms differ only in characters that a folder's name leaves out.
    """
    if len({_file_name(arm) for arm in study.arms}) < len(study.arms):
        raise ConfigError(f"{study.name}: two arms would have the same folder: {', '.join(study.arms)}")
    configs = {arm: compose([*overrides, *own]) for arm, own in study.arms.items()}
    return [_run(study, arm, seed, deepcopy(configs[arm]), out) for seed in seeds for arm in study.arms]


def _run(study: Study, arm: str, seed: int, config: DictConfig, out: Path) -> Run:
    name = f"{_file_name(arm)}_seed{seed}"
    config.trainer.update(default_local_dir=str(out / name), experiment_name=f"{study.name}_{name}")
    config.data.seed = config.cppo.seed = seed
    if config.cppo.rollout_seed is not None:  # where the device's settings ask for one
        config.cppo.rollout_seed = seed
    return Run(name, arm, seed, config)


def share_starts(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs grouped so that each group needs one start of the stack.

    Runs that save checkpoints start by themselves, as they go on by themselves after a kill; so do those of verl's V1
    trainers, which start their engine themselves.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        alone = run.config.trainer.save_freq > 0 or run.config.trainer.use_v1
        groups.setdefault(run.name if alone else engine_side(run.config), []).append(run)
    return list(groups.values())


def find_twin(run: Run, out: Path) -> Path | None:
    """The folder of the same run in another study's folder beside `out`, if it came to its end there.

    The same are all settings but the name and the folder, and the content of the files that were read.
    """
    wanted = _nameless(OmegaConf.to_yaml(run.config, resolve=True))
    for config in sorted(out.parent.glob(f"*/*_seed{run.seed}/{CONFIG_FILE}")):
        done = config.parent / DONE
        if done.is_file() and _nameless(config.read_text()) == wanted and done.read_text() == inputs(run.config):
            return config.parent
    return None


def _nameless(config: str) -> str:
    """A resolved config's YAML without the name and the folder of its run. As text: parsing one takes half a second."""
    for key in ("default_local_dir", "experiment_name"):
        if found := re.search(rf"^ +{key}: (\S.*)$", config, re.MULTILINE):
            config = config.replace(found[1].strip("'\""), key)
    return config


def inputs(config: DictConfig) -> str:
    """The files that a run reads: data by content, weights by size and time. A rebuilt model is another input."""
    data = [file for split in SPLITS for file in paths(config.data[f"{split}_files"])]
    weights = sorted(Path(config.actor_rollout_ref.model.path).glob("*.safetensors"))
    lines = [f"{file} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in data if file.is_file()]
    lines += [f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in weights]
    return "\n".join(lines) + "\n"


def engine_side(config: DictConfig) -> str:
    """All of a config that workers and engine read when they start, as YAML.

    What is left out is decided by the driver, step by step: the seeds, how many questions and steps, and CPPO's
    options but for those that workers read. The number of steps that comes of it counts where the learning rate
    depends on it.
    """
    left_out = {"cppo", "bench", "data.seed", "data.train_max_samples"}
    schedule = {"trainer.total_training_steps", "actor_rollout_ref.actor.optim.total_training_steps"}
    read = OmegaConf.create(_without(OmegaConf.to_container(config), left_out | schedule))
    steps = planned_steps(config) if _rate_depends_on_steps(config.actor_rollout_ref.actor.optim) else None
    return OmegaConf.to_yaml(OmegaConf.create({"steps": steps, "read": read, **_read_by_workers(config)}))


def _read_by_workers(config: DictConfig) -> dict[str, object]:
    """Of CPPO's options, what the workers of V0 read: the update's, and the agent loops'."""
    cppo = CPPOConfig.from_mapping(config.cppo)
    return {
        "first_pass_loss": cppo.skip_old_log_prob,
        "learning_rate_factor": cppo.lr_factor,
        "reward_timeout": cppo.reward_timeout,
    }


def _rate_depends_on_steps(optim: DictConfig) -> bool:
    """verl 0.9.1 warms up for a share of the steps unless it is given a number above 0."""
    by_share = optim.lr_warmup_steps <= 0 and optim.lr_warmup_steps_ratio > 0
    schedule = optim.get("warmup_style") or optim.lr_scheduler_type  # verl's old name for it goes first
    return schedule != "constant" or by_share


def _without(config: dict, keys: set[str], prefix: str = "") -> dict:
    """A config without some keys, and without what names or places a run (verl repeats that in several blocks)."""
    return {
        key: _without(value, keys, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in config.items()
        if f"{prefix}{key}" not in keys and key not in ("experiment_name", "default_local_dir")
    }


def _file_name(arm: str) -> str:
    return "".join(character if character.isalnum() or character in ".-" else "_" for character in arm).strip("_")

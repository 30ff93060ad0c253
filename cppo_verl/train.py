"""Train with CPPO (or GRPO, which is CPPO with `cppo.pruning_rate=0 cppo.allocation=false`).

python -m cppo_verl.train [--config-dir DIR --config-name NAME] [device=cpu] [key=value ...]
"""

from __future__ import annotations

import math
import os
import secrets
import uuid
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cppo_verl import dry_run
from cppo_verl.config import ConfigError
from cppo_verl.console import open_console
from cppo_verl.files import alone_in
from cppo_verl.overrides import run_main, run_or_say
from cppo_verl.preflight import check, describe, remarks_on_data, save_config
from cppo_verl.sizes import read_model
from cppo_verl.trainer import sockets
from cppo_verl.trainer.plan import plan_from_config

OmegaConf.register_new_resolver("sum", lambda *values: sum(values), replace=True)
OmegaConf.register_new_resolver("times", lambda *values: math.prod(values), replace=True)
OmegaConf.register_new_resolver("either", lambda choice, yes, no: yes if choice else no, replace=True)
OmegaConf.register_new_resolver(
    "beside",
    lambda paths, name: os.path.join(os.path.dirname(paths if isinstance(paths, str) else paths[0]), name),
    replace=True,
)


def run(config: DictConfig, runner_class: type | None = None) -> None:
    """Check a config, say what a step will do, and train.

    Args:
        config: As composed by Hydra.
        runner_class: Another task runner than `CPPOTaskRunner`, or than verl's for its V1 trainers.

    Raises:
        ConfigError: Something is wrong that can be known before Ray starts; the message lists all of it.
    """
    print(prepare(config), flush=True)
    if config.dry_run:
        return show_plan(config)
    save_config(config)
    launch(config, runner_class)


def prepare(config: DictConfig) -> str:
    """Resolve and check a config, in place; returns what a step of its run does, in words.

    Raises:
        ConfigError: As `run`.
    """
    unresolved = None
    try:
        OmegaConf.resolve(config)
    except OmegaConfBaseException as error:  # from a value that `check` names, most likely
        unresolved = ConfigError(f"the config cannot be resolved: {error}")
    set_environment(config)
    plan = check(config)
    if unresolved:
        raise unresolved
    # Ray's workers may run in another folder.
    config.trainer.default_local_dir = os.path.abspath(config.trainer.default_local_dir)
    notes = [f"\nnote: {remark}" for remark in remarks_on_data(config)]
    return describe(config, plan) + "".join(notes)


def show_plan(config: DictConfig) -> None:
    """What `dry_run=true` does after the checks."""
    model = config.actor_rollout_ref.model
    try:
        sizes = read_model(model.path, trust_remote_code=model.trust_remote_code)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"actor_rollout_ref.model.path: transformers cannot lay out {model.path}: {error}") from error
    open_console().print(dry_run.plan_table(config, plan_from_config(config), sizes))


def launch(config: DictConfig, runner_class: type | None = None) -> None:
    """Train by a prepared config.

    Raises:
        InUse: Another run writes into its folder.
        SystemExit: The run ended before its end; the message says why, and where the next start goes on.
    """
    suffix = f"ray_kwargs.ray_init.runtime_env.env_vars.{sockets.SUFFIX}"
    OmegaConf.update(config, suffix, uuid.uuid4().hex[:12], force_add=True)
    leave_counts_to_cluster(config.ray_kwargs.ray_init)
    set_environment(config)
    if not config.reward.reward_model.enable:  # whose clients bring no key
        os.environ.setdefault("VLLM_API_KEY", secrets.token_hex(16))  # the engine's server listens on the network

    import ray
    from verl.trainer.main_ppo import TaskRunnerV1, run_ppo

    from cppo_verl.trainer.endings import Terminable, explained
    from cppo_verl.trainer.task_runner import CPPOTaskRunner

    folder = config.trainer.default_local_dir
    if runner_class or not config.trainer.use_v1:
        runner = ray.remote(num_cpus=1)(runner_class or CPPOTaskRunner)
    else:
        runner = TaskRunnerV1
    with alone_in(Path(folder)), explained(folder, config.trainer.resume_mode):
        try:
            run_ppo(config, Terminable(runner))
        finally:
            ray.shutdown()
    print(f"Finished. Run folder: {folder}", flush=True)


def leave_counts_to_cluster(ray_init: DictConfig) -> None:
    """Where a run joins a running cluster, ask for no CPUs and GPUs: Ray takes counts only for one that it starts."""
    if ray_init.get("address", os.environ.get("RAY_ADDRESS", "local")) != "local":
        ray_init.update({count: None for count in ("num_cpus", "num_gpus") if count in ray_init})


def set_environment(config: DictConfig) -> None:
    """Take over the environment of the run's workers: verl settles on a platform when it is imported."""
    os.environ.update(config.ray_kwargs.ray_init.runtime_env.get("env_vars", {}))


@hydra.main(config_path="conf", config_name="cppo_trainer", version_base=None)
def main(config: DictConfig) -> None:
    """Hydra's entry point."""
    run_or_say(run, config)


if __name__ == "__main__":
    run_main(main, Path(__file__).parent / "conf", "cppo_trainer")

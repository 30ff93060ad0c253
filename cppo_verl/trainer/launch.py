"""The start of a run: Ray, and in it the actor that owns the trainer."""

from __future__ import annotations

import os
import secrets
import uuid
from collections.abc import Callable, Mapping
from functools import partial

import ray
from omegaconf import DictConfig, OmegaConf
from ray.actor import ActorClass
from verl.trainer.main_ppo import TaskRunnerV1, run_ppo

from cppo_verl.config.cluster import joins_cluster
from cppo_verl.preflight.prepare import set_environment
from cppo_verl.runs.endings import Terminable, explained
from cppo_verl.runs.port_retry import start_on_free_ports
from cppo_verl.runs.wandb_run import wandb_environment
from cppo_verl.trainer.v0.task_runner import CPPOTaskRunner
from cppo_verl.trainer.verl_checks import check_by_verl
from cppo_verl.weight_sync import sockets


def launch(
    config: DictConfig, runner_class: type | None = None, waits_for: Callable[[str], None] = lambda _: None
) -> None:
    """Train by a prepared config. The caller sees to it that nobody else writes into the run's folder (`alone_in`).

    Args:
        config: As `preflight.prepare` left it.
        runner_class: Another task runner than `CPPOTaskRunner`, or than verl's for its V1 trainers.
        waits_for: Told what the start waits for from now on.

    Raises:
        ConfigError: verl refuses the config.
        SystemExit: The run ended before its end; the message says why, and where the next start goes on.
    """
    check_by_verl(config)
    leave_counts_to_cluster(config.ray_kwargs.ray_init)
    if not config.reward.reward_model.enable:  # whose clients bring no key
        os.environ.setdefault("VLLM_API_KEY", secrets.token_hex(16))  # the engine's server listens on the network

    folder = config.trainer.default_local_dir
    if runner_class or not config.trainer.use_v1:
        runner = ray.remote(num_cpus=1)(runner_class or CPPOTaskRunner)
    else:
        runner = TaskRunnerV1
    with explained(folder, config.trainer.resume_mode):
        give_environment(config, wandb_environment(config.trainer, os.environ))
        start_on_free_ports(partial(start, config, runner, waits_for), folder)


def start(config: DictConfig, runner: ActorClass, waits_for: Callable[[str], None]) -> None:
    """Start Ray, and in it the actor that trains; at its end, whichever, Ray ends too."""
    waits_for("Ray")
    give_environment(config, {sockets.SUFFIX: uuid.uuid4().hex[:12]})
    try:
        run_ppo(config, Terminable(runner, partial(waits_for, "the trainer")))
    finally:
        ray.shutdown()


def give_environment(config: DictConfig, variables: Mapping[str, str]) -> None:
    """Set variables for this process and for all of Ray's."""
    for name, value in variables.items():
        OmegaConf.update(config, f"ray_kwargs.ray_init.runtime_env.env_vars.{name}", value, force_add=True)
    set_environment(config)


def leave_counts_to_cluster(ray_init: DictConfig) -> None:
    """Where a run joins a running cluster, ask for no CPUs and GPUs: Ray takes counts only for one that it starts."""
    if joins_cluster(ray_init):
        ray_init.update({count: None for count in ("num_cpus", "num_gpus") if count in ray_init})

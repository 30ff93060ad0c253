"""The start of a run: Ray, and in it the actor that owns the trainer."""

from __future__ import annotations

import os
import secrets
import uuid
from collections.abc import Callable

import ray
from omegaconf import DictConfig, OmegaConf
from verl.trainer.main_ppo import TaskRunnerV1, run_ppo

from cppo_verl.preflight.prepare import set_environment
from cppo_verl.runs.endings import Terminable, explained
from cppo_verl.trainer.task_runner import CPPOTaskRunner
from cppo_verl.weight_sync import sockets


def launch(
    config: DictConfig, runner_class: type | None = None, ray_is_there: Callable[[], None] = lambda: None
) -> None:
    """Train by a prepared config. The caller sees to it that nobody else writes into the run's folder (`alone_in`).

    Args:
        config: As `preflight.prepare` left it.
        runner_class: Another task runner than `CPPOTaskRunner`, or than verl's for its V1 trainers.
        ray_is_there: Called when Ray has started.

    Raises:
        SystemExit: The run ended before its end; the message says why, and where the next start goes on.
    """
    suffix = f"ray_kwargs.ray_init.runtime_env.env_vars.{sockets.SUFFIX}"
    OmegaConf.update(config, suffix, uuid.uuid4().hex[:12], force_add=True)
    leave_counts_to_cluster(config.ray_kwargs.ray_init)
    set_environment(config)
    if not config.reward.reward_model.enable:  # whose clients bring no key
        os.environ.setdefault("VLLM_API_KEY", secrets.token_hex(16))  # the engine's server listens on the network

    folder = config.trainer.default_local_dir
    if runner_class or not config.trainer.use_v1:
        runner = ray.remote(num_cpus=1)(runner_class or CPPOTaskRunner)
    else:
        runner = TaskRunnerV1
    with explained(folder, config.trainer.resume_mode):
        try:
            run_ppo(config, Terminable(runner, ray_is_there))
        finally:
            ray.shutdown()


def leave_counts_to_cluster(ray_init: DictConfig) -> None:
    """Where a run joins a running cluster, ask for no CPUs and GPUs: Ray takes counts only for one that it starts."""
    if ray_init.get("address", os.environ.get("RAY_ADDRESS", "local")) != "local":
        ray_init.update({count: None for count in ("num_cpus", "num_gpus") if count in ray_init})

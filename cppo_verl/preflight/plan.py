"""What a config asks of a step: its plan, the devices of either side, micro-batches that do not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.planning import plan_step
from cppo_verl.algorithm.step_plan import StepPlan, largest_divisor

LOG_PROB = "log_prob_"
QUEUED = 72
"""Bytes a token in verl's queue: five columns of 8 bytes (ids, masks, positions), eight of 4 (log-probs, rewards)."""
SEPARATE = "cppo_separate_async"
"""The `trainer.v1.trainer_mode` in which engines have devices of their own."""


def plan_from_config(config: DictConfig) -> StepPlan:
    """The plan of a step of this config.

    Raises:
        ConfigError: See `plan_step`.
    """
    actor, cppo = config.actor_rollout_ref.actor, CPPOConfig.from_mapping(config.cppo)
    return plan_step(
        cppo.pruning_rate,
        config.actor_rollout_ref.rollout.n,
        config.data.train_batch_size,
        actor.ppo_mini_batch_size,
        data_parallel_size(config),
        allocation=cppo.allocation,
        mini_batch=cppo.mini_batch,
    )


def scaled_learning_rate(config: DictConfig) -> float:
    """The actor's learning rate with the factor of `cppo.lr_scale`."""
    return config.actor_rollout_ref.actor.optim.lr * CPPOConfig.from_mapping(config.cppo).lr_factor


def is_separate(config: DictConfig) -> bool:
    """Whether the rollout engines have devices of their own."""
    return config.trainer.use_v1 and config.trainer.v1.trainer_mode == SEPARATE


def engine_devices(config: DictConfig) -> int:
    """Devices that rollout engines are on: those that train, or some of their own."""
    if is_separate(config):
        return config.actor_rollout_ref.rollout.n_gpus_per_node * config.actor_rollout_ref.rollout.nnodes
    return config.trainer.n_gpus_per_node * config.trainer.nnodes


def cycle_from_config(config: DictConfig) -> StepPlan:
    """The plan of a cycle: of a step, or in `cppo_separate_async` of one of the equal parts that it is made in: one
    mini-batch, or with `cppo.mini_batch=questions` 1/(1-P) of them.

    Raises:
        ConfigError: See `plan_step` and `StepPlan.share`.
    """
    plan = plan_from_config(config)
    return plan.share(config.trainer.v1.separate_async.parameter_sync_step) if is_separate(config) else plan


def data_parallel_size(config: DictConfig) -> int:
    """Ranks that share a batch's rows: the devices over the model-parallel size of the actor."""
    keys = {
        "megatron": (
            *("megatron.tensor_model_parallel_size", "megatron.pipeline_model_parallel_size"),
            "megatron.context_parallel_size",
        )
    }.get(config.actor_rollout_ref.actor.strategy, ("ulysses_sequence_parallel_size",))
    ranks = config.trainer.n_gpus_per_node * config.trainer.nnodes
    for key in keys:
        size = OmegaConf.select(config.actor_rollout_ref.actor, key) or 1  # none in another engine's config
        if ranks % size:
            raise ConfigError(f"{ranks} devices do not split into shards of {size} (actor_rollout_ref.actor.{key})")
        ranks //= size
    return ranks


def queue_bytes(config: DictConfig) -> int:
    """Bytes, at the most, of the completions in a checkpoint of an asynchronous trainer: those of its own step, which
    verl deletes later, and those that are sampled ahead."""
    v1 = config.trainer.v1
    if not config.trainer.use_v1 or v1.trainer_mode == "cppo_sync":
        return 0
    plan, longest = plan_from_config(config), config.data.max_prompt_length + config.data.max_response_length
    ahead = v1[v1.trainer_mode.removeprefix("cppo_")].num_warmup_batches
    return math.ceil((plan.rows + ahead * plan.sampled) * longest * QUEUED)


def micro_batch_faults(config: DictConfig, plan: StepPlan) -> Iterator[str]:
    """Fixed micro-batches that are not given, or do not divide a rank's rows; the nearest smaller size that works."""
    forwards = [
        ("actor_rollout_ref.actor", "ppo_", plan.mini_batch_rows),
        ("actor_rollout_ref.rollout", LOG_PROB, plan.rows),
        ("actor_rollout_ref.ref", LOG_PROB, plan.rows),
    ]
    if config.critic.enable:
        critic_rows = config.critic.ppo_mini_batch_size * plan.rollout_n
        forwards += [("critic", "ppo_", critic_rows), ("critic", "forward_", plan.rows)]
    for part, prefix, rows in forwards:
        options = OmegaConf.select(config, part)
        dynamic = f"{LOG_PROB if prefix == LOG_PROB else ''}use_dynamic_bsz"
        key, share = f"{prefix}micro_batch_size_per_gpu", rows // plan.dp_size
        size = options[key]
        if not options[dynamic] and (size is None or share % size):
            yield (
                f"{part}.{key}={size} does not divide the {share} rows of a rank; nearest that "
                f"works: {largest_divisor(share, size or 1)}, or {part}.{dynamic}=true"
            )

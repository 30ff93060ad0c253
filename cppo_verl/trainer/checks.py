"""Everything about a run's config that can be known before Ray starts."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from cppo_verl.config import ConfigError, CPPOConfig
from cppo_verl.planning import StepPlan, plan_step

OUTCOME_ESTIMATORS = ("grpo", "grpo_vectorized", "rloo")
"""Advantage estimators that give a completion one advantage, from rewards alone."""


def plan_from_config(config: DictConfig) -> StepPlan:
    """The plan of a step of this config.

    Raises:
        ConfigError: See `plan_step`.
    """
    actor = config.actor_rollout_ref.actor
    return plan_step(
        config.cppo.pruning_rate,
        config.actor_rollout_ref.rollout.n,
        config.data.train_batch_size,
        actor.ppo_mini_batch_size,
        data_parallel_size(config),
        allocation=CPPOConfig.from_mapping(config.cppo).allocation,
    )


def data_parallel_size(config: DictConfig) -> int:
    """Ranks that share a batch's rows: the devices over the model-parallel size of the actor."""
    actor = config.actor_rollout_ref.actor
    if actor.strategy == "megatron":
        sizes = ("tensor_model_parallel_size", "pipeline_model_parallel_size", "context_parallel_size")
        shards = [actor.megatron[size] for size in sizes]
    else:
        shards = [actor.ulysses_sequence_parallel_size]
    ranks = config.trainer.n_gpus_per_node * config.trainer.nnodes
    for size in shards:
        if ranks % size:
            raise ConfigError(f"{ranks} devices do not split into shards of {size}")
        ranks //= size
    return ranks


def refusals(config: DictConfig) -> list[str]:
    """Why CPPO cannot work with this config; empty where it can."""
    on = lambda key: bool(OmegaConf.select(config, key))  # noqa: E731
    cppo = CPPOConfig.from_mapping(config.cppo)
    estimator = config.algorithm.adv_estimator
    faults = {
        f"algorithm.adv_estimator={estimator}: CPPO prunes by an advantage that is known before any forward, "
        f"from rewards alone; use one of {', '.join(OUTCOME_ESTIMATORS)}": estimator not in OUTCOME_ESTIMATORS,
        "algorithm.use_kl_in_reward=true: a reward that needs the reference log-probs is not known before "
        "the pruning; use actor_rollout_ref.actor.use_kl_loss=true": on("algorithm.use_kl_in_reward"),
        "critic.enable=true: CPPO has no critic; its advantage comes from the group": on("critic.enable"),
        "trainer.use_v1=true: RayCPPOTrainer is a V0 trainer; set trainer.use_v1=false": on("trainer.use_v1"),
        "trainer.critic_warmup must be 0: there is no critic": on("trainer.critic_warmup"),
        "distillation.enabled=true is not supported": on("distillation.enabled"),
        "reward.reward_model.enable=true needs reward.reward_model.enable_resource_pool=true: completions "
        "are scored while the rollout engine is awake": on("reward.reward_model.enable")
        and not on("reward.reward_model.enable_resource_pool"),
        "skip.rollout.enable=true replays one rollout a step; use cppo.max_gen_rounds=1 with "
        "cppo.zero_variance=drop": on("skip.rollout.enable")
        and cppo.zero_variance == "drop"
        and cppo.max_gen_rounds > 1,
    }
    return [message for message, is_fault in faults.items() if is_fault]

"""A composed config made ready for a run: resolved, checked, and said in words."""

from __future__ import annotations

import os

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.step_plan import StepPlan
from cppo_verl.preflight.attention import remarks_on_attention
from cppo_verl.preflight.check import check
from cppo_verl.preflight.data import num_train_rows, remarks_on_data
from cppo_verl.preflight.loggers import remarks_on_loggers
from cppo_verl.preflight.plan import scaled_learning_rate
from cppo_verl.preflight.prompt_remarks import remarks_on_prompts
from cppo_verl.preflight.prompts import record_style
from cppo_verl.preflight.reward_trial import remarks_on_reward, with_checked_results


def prepare(config: DictConfig) -> str:
    """Resolve and check a config, in place; returns what a step of its run does, in words.

    A reward function of the user's own is then behind what checks its results (`reward_trial.with_checked_results`).

    Raises:
        ConfigError: Something is wrong that can be known before Ray starts; the message lists all of it.
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
    record_style(config)
    told = remarks_on_data, remarks_on_prompts, remarks_on_attention, remarks_on_reward, remarks_on_loggers
    notes = [f"\nnote: {remark}" for remarks in told for remark in remarks(config)]
    with_checked_results(config)
    return describe(config, plan) + "".join(notes)


def set_environment(config: DictConfig) -> None:
    """Take over the environment of the run's workers: verl settles on a platform when it is imported."""
    os.environ.update(config.ray_kwargs.ray_init.runtime_env.get("env_vars", {}))


def describe(config: DictConfig, plan: StepPlan) -> str:
    """One paragraph on what a step of this run does."""
    cppo, rows = CPPOConfig.from_mapping(config.cppo), num_train_rows(config)
    method = "PPO with a critic" if config.critic.enable else "GRPO"
    method = method if not cppo.rate else f"CPPO (P={cppo.pruning_rate}, prunes the {cppo.metric})"
    rate = scaled_learning_rate(config)
    scaled = f", at a learning rate of {rate:g}" if cppo.lr_factor != 1 else ""
    return (
        f"{method}: {plan.questions} questions x G={plan.rollout_n} = {plan.sampled} completions sampled per "
        f"step, k={plan.keep} kept per question, {plan.rows} trained in {plan.mini_batches} mini-batch(es) of "
        f"{plan.mini_batch_rows} over {plan.dp_size} rank(s); {plan.steps_per_epoch(rows)} steps and "
        f"{plan.updates_per_epoch(rows, config.actor_rollout_ref.actor.ppo_epochs)} updates an epoch of {rows} "
        f"questions{scaled}. Run folder: {config.trainer.default_local_dir}"
    )

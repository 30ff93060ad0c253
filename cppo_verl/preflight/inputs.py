"""The models and the reward function that a run loads: what is not there, not whole, or brings code of its own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from omegaconf import DictConfig, OmegaConf

from cppo_verl.hardware.model_files import code_fault, model_fault, tokenizer_fault, weights_fault
from cppo_verl.rewards.own import function_fault


def model_faults(config: DictConfig) -> Iterator[str]:
    """Models that are not there or not whole, or bring code that nobody looked at."""
    model = config.actor_rollout_ref.model
    code = partial(code_fault, trust_remote_code=model.trust_remote_code)
    there = partial(model_fault, trust_remote_code=model.trust_remote_code)
    weights, tokenizer = ([], []) if config.dry_run else ([weights_fault], [tokenizer_fault])
    asked = {"actor_rollout_ref.model.path": [code, there, *weights, *([] if model.tokenizer_path else tokenizer)]}
    if config.critic.enable and config.critic.model.path != model.path:
        asked["critic.model.path"] = [code, there, *weights]
    if model.tokenizer_path:
        asked["actor_rollout_ref.model.tokenizer_path"] = [code, *tokenizer]
    if config.reward.reward_model.enable:
        asked["reward.reward_model.model_path"] = [code, there, *weights, *tokenizer]
    for key, questions in asked.items():
        path = OmegaConf.select(config, key)
        if path is None:
            yield f"{key}=null, but reward.reward_model.enable=true needs a model"
        elif why := next(filter(None, (ask(path) for ask in questions)), None):
            yield f"{key}: {why}"


def reward_faults(config: DictConfig) -> Iterator[str]:
    """No reward function where one of the user's own is asked for."""
    given = config.reward.custom_reward_function
    if given.path and (why := function_fault(given.path, given.name or "compute_score")):
        yield f"reward.custom_reward_function: {why}"

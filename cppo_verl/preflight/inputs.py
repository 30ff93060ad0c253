"""The models and the reward function that a run loads: what is not there, not whole, or brings code of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from omegaconf import DictConfig, OmegaConf

from cppo_verl.hardware.model_files import (
    code_fault,
    folder_fault,
    is_of_hub,
    model_fault,
    tokenizer_fault,
    weights_fault,
)
from cppo_verl.hardware.trainable import architecture_fault, engine_fault
from cppo_verl.rewards.own import function_fault

REWARD_MODEL = "reward.reward_model.model_path"


def model_faults(config: DictConfig) -> Iterator[str]:
    """Models that are not there or not whole, or bring code that nobody looked at; of a hub's only how it is asked."""
    if config.reward.reward_model.enable and OmegaConf.select(config, REWARD_MODEL) is None:
        yield f"{REWARD_MODEL}=null, but reward.reward_model.enable=true needs a model"
    yield from _first_faults(config, is_asked=lambda path: not is_of_hub(path), model=folder_fault)


def loaded_model_faults(config: DictConfig) -> Iterator[str]:
    """What transformers, or the hub, says of them; a model that verl does not train or the engine does not start on."""
    model = config.actor_rollout_ref.model
    load = partial(model_fault, trust_remote_code=model.trust_remote_code)
    faults = list(_first_faults(config, is_asked=lambda _: True, model=load))
    yield from faults
    if faults:
        return
    asked = [architecture_fault] if config.dry_run else [architecture_fault, engine_fault]
    if why := next(filter(None, (ask(model.path, trust_remote_code=model.trust_remote_code) for ask in asked)), None):
        yield f"actor_rollout_ref.model.path: {why}"


def _first_faults(
    config: DictConfig, is_asked: Callable[[str], bool], model: Callable[[str], str | None]
) -> Iterator[str]:
    """The first fault of each model and tokenizer that is asked about."""
    of_actor = config.actor_rollout_ref.model
    code = partial(code_fault, trust_remote_code=of_actor.trust_remote_code)
    weights, tokenizer = ([], []) if config.dry_run else ([weights_fault], [tokenizer_fault])
    asked = {"actor_rollout_ref.model.path": [code, model, *weights, *([] if of_actor.tokenizer_path else tokenizer)]}
    if config.critic.enable and config.critic.model.path != of_actor.path:
        asked["critic.model.path"] = [code, model, *weights]
    if of_actor.tokenizer_path:
        asked["actor_rollout_ref.model.tokenizer_path"] = [code, *tokenizer]
    if config.reward.reward_model.enable:
        asked[REWARD_MODEL] = [code, model, *weights, *tokenizer]
    for key, questions in asked.items():
        path = OmegaConf.select(config, key)
        if path is None or not is_asked(path):
            continue
        if why := next(filter(None, (ask(path) for ask in questions)), None):
            yield f"{key}: {why}"


def reward_faults(config: DictConfig) -> Iterator[str]:
    """No reward function where one of the user's own is asked for."""
    given = config.reward.custom_reward_function
    if given.path and (why := function_fault(given.path, given.name or "compute_score")):
        yield f"reward.custom_reward_function: {why}"

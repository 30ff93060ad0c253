"""Options that would be ignored: a run that changes one is refused, with what to set instead."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from cppo_verl.preflight import unread_options
from cppo_verl.preflight.critic import GAE
from cppo_verl.preflight.plan import is_separate
from cppo_verl.preflight.unread_options import FOLLOWS, OF_FSDP, Unread
from cppo_verl.preflight.values import ABSENT, value_at

LEGACY = ("custom_reward_function", "reward_model", "sandbox_fusion")
"""Blocks of verl's that stand under `reward` now. verl 0.9.1 has them still, all null, and its trainers read none."""
RENAMED = {
    "reward_model.reward_manager": "reward.reward_manager.name",
    "reward_model.reward_loop_source": "reward.reward_manager.source",
    "reward_model.reward_loop_module_path": "reward.reward_manager.module.path",
    "reward_model.reward_loop_class_name": "reward.reward_manager.module.name",
    "reward_model.model.path": "reward.reward_model.model_path",
    "reward_model.num_workers": "reward.num_workers",
}
"""Of those, the options that have another name there."""


def unread_faults(config: DictConfig) -> Iterator[str]:
    """Every option that nothing in this config's run reads and that was changed from verl's default."""
    for key, option in unread(config).items():
        if _is_changed(config, key, option):
            yield _message(config, key, option)


def unread(config: DictConfig) -> dict[str, Unread]:
    """The options that nothing in this config's run reads, by key; the config need not have all of them."""
    v1, rollout = bool(config.trainer.use_v1), config.actor_rollout_ref.rollout.name
    options = {
        **unread_options.ALWAYS,
        **(unread_options.ON_V1 if v1 else unread_options.ON_V0),
        **_of_modes(config),
        **_of_engines(config),
        **_legacy(config),
    }
    if not is_separate(config):
        options |= unread_options.OF_ONE_DEVICE
    if rollout != "sglang":
        options |= unread_options.OF_SGLANG
    if not config.actor_rollout_ref.rollout.val_kwargs.temperature:
        validated = f"{unread_options.ROLLOUT}.val_kwargs"
        options[f"{validated}.do_sample"] = Unread(False, because=f"{validated}.temperature=0 decides")
    if config.algorithm.adv_estimator != GAE:
        options["algorithm.use_pf_ppo"] = Unread(False, because=f"it is for algorithm.adv_estimator={GAE}")
    return options


def _of_modes(config: DictConfig) -> dict[str, Unread]:
    """Options of other modes than the one in which verl's V1 trainers run here, if they do."""
    chosen = str(config.trainer.v1.trainer_mode).removeprefix("cppo_") if config.trainer.use_v1 else None
    options = {
        f"trainer.v1.{mode}.{name}": Unread(default, because=f"trainer.v1.trainer_mode=cppo_{mode} alone does")
        for mode, names in unread_options.IN_MODE.items()
        for name, default in names.items()
        if mode != chosen
    }
    return options if chosen in unread_options.IN_MODE else options | unread_options.ASYNCHRONOUS


def _of_engines(config: DictConfig) -> dict[str, Unread]:
    strategies = {"actor": str(config.actor_rollout_ref.actor.strategy), "critic": str(config.critic.strategy)}
    options: dict[str, Unread] = {}
    for part, strategy in strategies.items():
        if strategy.startswith("fsdp"):
            options |= OF_FSDP[part]
    of_version = {"fsdp2": unread_options.ON_FSDP2, "fsdp": unread_options.ON_FSDP1}
    return options | of_version.get(strategies["actor"], {})


def _legacy(config: DictConfig) -> dict[str, Unread]:
    keys = [key for block in LEGACY for key in _leaves(config.get(block), block)]
    return {key: Unread(None, RENAMED.get(key, f"reward.{key}")) for key in keys}


def _leaves(node: object, prefix: str) -> list[str]:
    if not isinstance(node, DictConfig):
        return [] if node is None else [prefix]
    return [leaf for key, child in node.items() for leaf in _leaves(child, f"{prefix}.{key}")]


def _is_changed(config: DictConfig, key: str, option: Unread) -> bool:
    value = _plain(value_at(config, key))
    allowed = [] if option.default is FOLLOWS else [option.default]
    allowed += [_plain(value_at(config, option.instead))] if option.instead else []
    return value is not ABSENT and value not in allowed


def _message(config: DictConfig, key: str, option: Unread) -> str:
    because = f" ({option.because})" if option.because else ""
    instead = f"set {option.instead}" if option.instead else f"leave it at {option.default}"
    return f"{key}={value_at(config, key)} would be ignored: nothing in this run reads it{because}; {instead}"


def _plain(value: object) -> object:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value

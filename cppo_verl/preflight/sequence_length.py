"""Whether the longest sequence has room, and the rollout's shards have devices."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator

from omegaconf import DictConfig, OmegaConf

from cppo_verl.algorithm.step_plan import largest_divisor
from cppo_verl.hardware.model_files import num_heads, num_positions
from cppo_verl.preflight.plan import engine_devices

DEVICES = "trainer.n_gpus_per_node", "trainer.nnodes"
ENGINE_DEVICES = "actor_rollout_ref.rollout.nnodes", "actor_rollout_ref.rollout.n_gpus_per_node"
"""Where the rollout engines have some of their own."""
LENGTHS = "data.max_prompt_length", "data.max_response_length"
SHARDS = "actor_rollout_ref.actor.ulysses_sequence_parallel_size"
ROOM = "actor_rollout_ref.rollout.max_model_len"
TENSOR_SHARDS = "actor_rollout_ref.rollout.tensor_model_parallel_size"
BUDGETS = {
    "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": "actor_rollout_ref.actor.use_dynamic_bsz",
    **{
        f"actor_rollout_ref.{part}.log_prob_max_token_len_per_gpu": f"actor_rollout_ref.{part}.log_prob_use_dynamic_bsz"
        for part in ("rollout", "ref")
    },
}
"""Tokens of a micro-batch, and whether it is packed by them."""
CRITIC_BUDGETS = {f"critic.{forward}_max_token_len_per_gpu": "critic.use_dynamic_bsz" for forward in ("ppo", "forward")}
"""The same of a critic, where there is one."""


def length_faults(config: DictConfig, wrong: Container[str] = ()) -> Iterator[str]:
    """Room too small for the longest sequence: verl would stop when the first one of that length comes.

    Args:
        config: The run's.
        wrong: Keys that are not reckoned with.
    """

    def right(*keys: str) -> bool:
        return not any(key in wrong for key in keys)

    if right(*LENGTHS, SHARDS):
        for budget, is_packed in (BUDGETS | (CRITIC_BUDGETS if config.critic.enable else {})).items():
            if right(budget, is_packed) and OmegaConf.select(config, is_packed):
                yield from _budget_faults(config, budget)
    if right(*LENGTHS, ROOM):
        yield from _room_faults(config)
    if right(*DEVICES, *ENGINE_DEVICES, TENSOR_SHARDS):
        yield from _shard_faults(config)


def position_faults(config: DictConfig) -> Iterator[str]:
    """Sequences longer than the model takes."""
    model, (prompt, _), longest = config.actor_rollout_ref.model, _lengths(config), sum(_lengths(config))
    positions = num_positions(model.path, trust_remote_code=model.trust_remote_code)
    if positions and longest > positions:
        yield (
            f"data.max_prompt_length + data.max_response_length = {longest} is more than the {positions} positions of "
            "the model; "
            + (
                f"the nearest that works: data.max_response_length={positions - prompt}"
                if positions > prompt
                else "lower both"
            )
        )


def head_faults(config: DictConfig) -> Iterator[str]:
    """Shards of a rollout engine, or of a sequence, that the model's attention heads do not split over."""
    model = config.actor_rollout_ref.model
    heads = num_heads(model.path, trust_remote_code=model.trust_remote_code)
    for key in (TENSOR_SHARDS, SHARDS):
        shards = OmegaConf.select(config, key) or 1  # another engine than FSDP's has none of a sequence
        if heads and heads % shards:
            yield (
                f"{key}={shards} does not divide the {heads} attention heads of the model; nearest that works: "
                f"{largest_divisor(math.gcd(heads, engine_devices(config)), shards)}"
            )


def _budget_faults(config: DictConfig, budget: str) -> Iterator[str]:
    size, longest, shards = OmegaConf.select(config, budget), sum(_lengths(config)), OmegaConf.select(config, SHARDS)
    shards = shards or 1  # another engine than FSDP's has none
    if size * shards < longest:
        yield (
            f"{budget}={size} is less than the longest sequence, data.max_prompt_length + "
            f"data.max_response_length = {longest}"
            + (f" over {shards} shards" if shards > 1 else "")
            + f"; set it to {-(-longest // shards)} or more"
        )


def _room_faults(config: DictConfig) -> Iterator[str]:
    room, longest = OmegaConf.select(config, ROOM), sum(_lengths(config))
    if room is not None and room < longest:
        yield (
            f"{ROOM}={room} is less than data.max_prompt_length + data.max_response_length = {longest}; set it to "
            f"{longest}, or to null"
        )


def _shard_faults(config: DictConfig) -> Iterator[str]:
    ranks, shards = engine_devices(config), OmegaConf.select(config, TENSOR_SHARDS)
    if ranks % shards:
        yield (
            f"{TENSOR_SHARDS}={shards} does not divide the {ranks} devices; nearest that works: "
            f"{largest_divisor(ranks, shards)}"
        )


def _lengths(config: DictConfig) -> tuple[int, int]:
    return config.data.max_prompt_length, config.data.max_response_length

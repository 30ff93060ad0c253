"""Completions that are not of the weights that train on them, and engines on devices of their own: what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from omegaconf import DictConfig, OmegaConf

from cppo_verl.preflight.plan import engine_devices
from cppo_verl.weight_sync.transports import COLOCATED


def is_asynchronous(config: DictConfig) -> bool:
    """Whether completions may be of older weights than those that train on them."""
    return bool(config.trainer.use_v1) and config.trainer.v1.trainer_mode != "cppo_sync"


def uncorrected(config: DictConfig) -> bool:
    """Whether nothing makes up for that: neither a weight nor a ratio to the rollout's log-probs."""
    correction = OmegaConf.select(config, "algorithm.rollout_correction") or {}
    return is_asynchronous(config) and not (correction.get("rollout_is") or correction.get("bypass_mode"))


def places_each(rollout: DictConfig, engines: int) -> int:
    """Completions that each of the agent loops' processes may have at so many engines, which hold
    `rollout.max_num_seqs` each."""
    return max(rollout.max_num_seqs * engines // rollout.agent.num_workers, 1)


def places_faults(config: DictConfig) -> Iterator[str]:
    """A question whose completions are more than the places of the process that asks for them, and would be let in
    together."""
    if not is_asynchronous(config):
        return
    rollout, workers = config.actor_rollout_ref.rollout, "actor_rollout_ref.rollout.agent.num_workers"
    shards = (rollout.get(f"{kind}_parallel_size") or 1 for kind in ("tensor_model", "pipeline_model", "data"))
    engines = max(engine_devices(config) // prod(shards), 1)
    places = rollout.max_num_seqs * engines
    if rollout.n * rollout.agent.num_workers > places:
        most, least = places // rollout.n, -(-rollout.n // engines)
        yield (
            f"actor_rollout_ref.rollout.n={rollout.n} completions of a question do not fit into the share that each of "
            f"{workers}={rollout.agent.num_workers} has of the {places} places at the engines "
            f"(actor_rollout_ref.rollout.max_num_seqs={rollout.max_num_seqs} at each of {engines}); "
            + (f"set {workers} to at most {most}" if most else f"set max_num_seqs to at least {least}")
        )


def seed_refusal(config: DictConfig) -> tuple[bool, str]:
    """Of seeds of requests, which the asynchronous trainers give none: whether it is a fault, and the message."""
    seed, mode = config.cppo.get("rollout_seed"), config.trainer.v1.trainer_mode
    return (
        seed is not None and is_asynchronous(config),
        f"cppo.rollout_seed={seed} with trainer.v1.trainer_mode={mode}: requests have no seeds "
        "there, since a completion that goes on under newer weights would begin its seed's random numbers again; set "
        "cppo.rollout_seed=null",
    )


def colocated_refusals(config: DictConfig) -> list[tuple[bool, str]]:
    """Of options of engines on devices of their own, where they share those that train: whether each is a fault, and
    the message."""
    parts = config.actor_rollout_ref
    backend, elsewhere = parts.rollout.checkpoint_engine.backend, "devices of their own (mode=separate_async)"
    return [
        (
            backend != COLOCATED,
            f"actor_rollout_ref.rollout.checkpoint_engine.backend={backend} is a way of weights to engines on "
            f"{elsewhere}; set it to {COLOCATED}",
        ),
        (
            not parts.hybrid_engine,
            f"actor_rollout_ref.hybrid_engine=false is for engines on {elsewhere}; set it to true",
        ),
    ]


def separate_refusals(config: DictConfig) -> list[tuple[bool, str]]:
    """Of the mode `cppo_separate_async`: whether each is a fault, and the message."""
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    batch, updates = config.data.train_batch_size, config.trainer.v1.separate_async.parameter_sync_step
    transport = OmegaConf.select(config, "weight_transport", default="nccl")  # verl's own config has none
    return [
        (
            batch != updates * actor.ppo_mini_batch_size,
            f"trainer.v1.separate_async.parameter_sync_step={updates} must be GRPO's mini-batches of a step: "
            f"data.train_batch_size={batch} over actor_rollout_ref.actor.ppo_mini_batch_size="
            f"{actor.ppo_mini_batch_size}",
        ),
        (
            not (rollout.nnodes and rollout.n_gpus_per_node),
            f"actor_rollout_ref.rollout.nnodes={rollout.nnodes} of {rollout.n_gpus_per_node} devices "
            "(actor_rollout_ref.rollout.n_gpus_per_node): the engines need devices of their own, at least 1 of 1",
        ),
        (
            rollout.checkpoint_engine.backend == COLOCATED,
            f"actor_rollout_ref.rollout.checkpoint_engine.backend={COLOCATED} moves no weights between devices; set it "
            f"to {transport}",
        ),
        (
            _is_lora(config) and not OmegaConf.select(config, "actor_rollout_ref.model.lora.merge"),
            "actor_rollout_ref.model.lora.merge=false: verl sends an engine on other devices the weights without "
            "LoRA's adapters, and it would sample from the base model for ever; set it to true",
        ),
        (
            _is_lora(config) and rollout.checkpoint_engine.backend == "delta_sharded",
            "actor_rollout_ref.rollout.checkpoint_engine.backend=delta_sharded sends what changed of the base model, "
            f"without LoRA's adapters; set it to {transport}",
        ),
        (
            config.cppo.get("scope") == "batch" and updates > 1,
            f"cppo.scope=batch with trainer.v1.separate_async.parameter_sync_step={updates}: each of the {updates} "
            "cycles of a step would pool its own questions alone; make steps of one cycle "
            "(trainer.v1.separate_async.parameter_sync_step=1 and "
            f"actor_rollout_ref.actor.ppo_mini_batch_size={batch}), or set cppo.scope=question",
        ),
        (
            config.trainer.v1.separate_async.hybrid_rollout.enable_switch,
            "trainer.v1.separate_async.hybrid_rollout.enable_switch=true is not supported: verl decides by "
            "data.train_batch_size, not by the questions that a step takes; set it to false",
        ),
    ]


def _is_lora(config: DictConfig) -> bool:
    model = config.actor_rollout_ref.model
    return bool(model.lora_rank or OmegaConf.select(model, "lora.rank") or model.get("lora_adapter_path"))

"""What of verl's other engines cannot work as it was configured: refusals, with the nearest that works."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

SHARDS = "actor_rollout_ref.actor.ulysses_sequence_parallel_size"
OTHER_SHARDS = tuple(
    f"{part}.ulysses_sequence_parallel_size"
    for part in (
        *("actor_rollout_ref.actor.fsdp_config", "actor_rollout_ref.ref", "actor_rollout_ref.ref.fsdp_config"),
        *("critic.fsdp", "critic"),
    )
)
"""Where verl reads it too, of the same ranks and rows."""
ATTENTION = "actor_rollout_ref.model.override_config.attn_implementation"
SCHEDULE = "actor_rollout_ref.actor.optim.lr_scheduler_type"


def engine_refusals(config: DictConfig) -> list[tuple[bool, str]]:
    """Of sequence parallelism, Megatron and SGLang: whether each is a fault, and the message."""
    return [*_sequence_refusals(config), *_megatron_refusals(config), _sglang_refusal(config)]


def _sequence_refusals(config: DictConfig) -> list[tuple[bool, str]]:
    """verl 0.9.1 exchanges a sequence's shards inside transformers' `_flash_attention_forward`, and nowhere else."""
    shards, others = OmegaConf.select(config, SHARDS) or 1, {key: OmegaConf.select(config, key) for key in OTHER_SHARDS}
    attention = OmegaConf.select(config, ATTENTION) or "flash_attention_2"
    return [
        *(
            (
                value not in (None, 1, shards),
                f"{key}={value} is not what the rows of a step are planned by; set it to {shards} ({SHARDS})",
            )
            for key, value in others.items()
        ),
        (
            shards > 1 and bool(config.critic.enable),
            f"{SHARDS}={shards} with a critic, whose ranks have whole sequences; set it to 1",
        ),
        (
            shards > 1 and not attention.startswith("flash_attention"),
            f"{SHARDS}={shards} with {ATTENTION}={attention}: each shard would attend to its own tokens alone, without "
            f"an error; install flash-attn and set {ATTENTION}=flash_attention_2, or {SHARDS}=1",
        ),
        (
            shards > 1 and not config.actor_rollout_ref.model.use_remove_padding,
            f"{SHARDS}={shards} needs packed sequences; set actor_rollout_ref.model.use_remove_padding=true",
        ),
    ]


def _megatron_refusals(config: DictConfig) -> list[tuple[bool, str]]:
    """verl 0.9.1's optimiser options of Megatron have other names than FSDP's, and it takes no unknown ones."""
    actor, ref = config.actor_rollout_ref.actor, config.actor_rollout_ref.ref
    is_megatron, schedule = actor.strategy == "megatron", OmegaConf.select(config, SCHEDULE)
    return [
        (
            is_megatron and schedule is not None,
            f"{SCHEDULE}={schedule} is not an option of Megatron's optimiser; give ~{SCHEDULE} and "
            f"actor_rollout_ref.actor.optim.lr_decay_style={schedule}",
        ),
        (
            is_megatron != (ref.strategy == "megatron"),
            f"actor_rollout_ref.ref.strategy={ref.strategy} with actor_rollout_ref.actor.strategy={actor.strategy}: "
            f"the reference is of the policy's engine; set actor_rollout_ref.ref.strategy={actor.strategy}",
        ),
    ]


def _sglang_refusal(config: DictConfig) -> tuple[bool, str]:
    """SGLang calls a request's seed `sampling_seed`, and refuses one that is called `seed`."""
    seed, name = config.cppo.get("rollout_seed"), config.actor_rollout_ref.rollout.name
    return (
        name == "sglang" and seed is not None,
        f"cppo.rollout_seed={seed} with actor_rollout_ref.rollout.name=sglang: requests have no seeds of their own "
        "there; set cppo.rollout_seed=null",
    )

"""The attention that GPUs train with: whether it can be used, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

from omegaconf import DictConfig, OmegaConf

from cppo_verl.config.attention import EXTENSION, FLASH, SDPA
from cppo_verl.hardware.model_files import read_config
from cppo_verl.preflight.sequence_length import BUDGETS, CRITIC_BUDGETS, LENGTHS

ATTENTION = "model.override_config.attn_implementation"
"""In `actor_rollout_ref`, and in the config of the supervised warm start."""
FUSED = "actor_rollout_ref.model.use_fused_kernels"


def flash_faults(config: DictConfig) -> Iterator[str]:
    """flash-attn that is asked for and cannot be imported: the workers would stop, or take another way."""
    if config.trainer.device == "cuda" and not config.dry_run:
        yield from flash_fault(config.actor_rollout_ref, "actor_rollout_ref.")


def flash_fault(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """Of a config in which `ATTENTION` is found, below `prefix` of the whole one."""
    # Without flash-attn, but with `kernels`, transformers takes its build from the hub.
    if OmegaConf.select(config, ATTENTION) != FLASH or (not find_spec(EXTENSION) and find_spec("kernels")):
        return
    try:
        import_module("torch")  # whose libraries it is linked with
        import_module(EXTENSION)
    except (ImportError, OSError) as error:  # of another build of torch's, or a library of CUDA's that is not there
        yield (
            f"{prefix}{ATTENTION}={FLASH}, but flash-attn cannot be imported ({error}); install the wheel that "
            f"docs/install.md names, or set it to {SDPA}"
        )


def fused_faults(config: DictConfig) -> Iterator[str]:
    """verl 0.9.1's fused kernels read the output embedding's weight past FSDP2, which has it sharded where it is not
    the input's too."""
    model = config.actor_rollout_ref.model
    if not model.get("use_fused_kernels") or config.actor_rollout_ref.actor.strategy != "fsdp2":
        return
    if not getattr(read_config(model.path, trust_remote_code=model.trust_remote_code), "tie_word_embeddings", False):
        yield (
            f"{FUSED}=true crashes with FSDP2 and a model whose output embedding is not its input embedding, as is "
            f"that of {model.path}; set it to false"
        )


def remarks_on_attention(config: DictConfig) -> Iterator[str]:
    """Token budgets with which torch's own attention wastes most of what it does."""
    model, longest = config.actor_rollout_ref.model, sum(OmegaConf.select(config, key) for key in LENGTHS)
    attention = OmegaConf.select(config.actor_rollout_ref, ATTENTION)
    if config.trainer.device != "cuda" or attention != SDPA or not model.use_remove_padding:
        return
    asked = {
        key: OmegaConf.select(config, key)
        for key, is_packed in (BUDGETS | (CRITIC_BUDGETS if config.critic.enable else {})).items()
        if OmegaConf.select(config, is_packed)
    }
    if larger := {key: size for key, size in asked.items() if size > longest}:
        yield (
            f"attention through {SDPA} takes every pair of tokens of a packed row, of whichever sequences, and a row "
            f"has up to {max(larger.values()):,}: install flash-attn (docs/install.md), or set "
            + " ".join(f"{key}={longest}" for key in larger)
        )


def attention_in_words(config: DictConfig) -> str:
    """Which, and why."""
    attention = OmegaConf.select(config.actor_rollout_ref, ATTENTION) or FLASH
    if attention != SDPA:
        return attention
    return f"{SDPA}, torch's own" + ("" if find_spec(EXTENSION) else ": flash-attn is not installed here")

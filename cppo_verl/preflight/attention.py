"""The attention that GPUs train with: whether it can be used, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec

from omegaconf import DictConfig, OmegaConf

from cppo_verl.config.attention import EXTENSION, FLASH, SDPA
from cppo_verl.hardware.model_files import read_config
from cppo_verl.preflight.sequence_length import BUDGETS, CRITIC_BUDGETS, LENGTHS

ATTENTION = "model.override_config.attn_implementation"
"""In `actor_rollout_ref`, and in the config of the supervised warm start."""
LATER = {"flash_attention_3": "flash_attn_interface", "flash_attention_4": "flash_attn.cute"}
"""transformers' name to the module of it, of flash-attn's versions beside 2."""
FUSED = "model.use_fused_kernels"
"""As `ATTENTION`."""


def flash_faults(config: DictConfig) -> Iterator[str]:
    """flash-attn that is asked for and cannot be imported: the workers would stop, or take another way."""
    if config.trainer.device == "cuda" and not config.dry_run:
        yield from flash_fault(config.actor_rollout_ref, "actor_rollout_ref.")


def flash_fault(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """Of a config in which `ATTENTION` is found, below `prefix` of the whole one."""
    asked = OmegaConf.select(config, ATTENTION)
    module = EXTENSION if asked == FLASH else LATER.get(asked)
    # Without flash-attn, but with `kernels`, transformers takes its build from the hub.
    if module is None or (not _is_there(module) and find_spec("kernels")):
        return
    try:
        if asked == FLASH:
            import_module("torch")  # whose libraries it is linked with
            import_module(module)
        elif not _is_there(module):  # to import one takes long
            raise ModuleNotFoundError(f"No module named {module!r}")
    except (ImportError, OSError) as error:  # of another build of torch's, or a library of CUDA's that is not there
        yield (
            f"{prefix}{ATTENTION}={asked}, but flash-attn cannot be imported ({error}); install it as docs/install.md "
            f"says, or set it to {SDPA}"
        )


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # nor is what it is a part of
        return False


def fused_faults(config: DictConfig) -> Iterator[str]:
    """Of a run's config, as `fused_fault`."""
    return fused_fault(config.actor_rollout_ref, config.actor_rollout_ref.actor.strategy, "actor_rollout_ref.")


def fused_fault(config: DictConfig, strategy: str, prefix: str = "") -> Iterator[str]:
    """verl 0.9.1's fused kernels read the output embedding's weight past FSDP2, which has it sharded where it is not
    the input's too.

    Args:
        config: One in which `FUSED` is found, below `prefix` of the whole one.
        strategy: Of the engine.
        prefix: Of the message.
    """
    model = config.model
    if not model.get("use_fused_kernels") or strategy != "fsdp2":
        return
    if not getattr(read_config(model.path, trust_remote_code=model.trust_remote_code), "tie_word_embeddings", False):
        yield (
            f"{prefix}{FUSED}=true crashes with FSDP2 and a model whose output embedding is not its input embedding, "
            f"as is that of {model.path}; set it to false"
        )


def remarks_on_attention(config: DictConfig) -> Iterator[str]:
    """Token budgets with which torch's own attention wastes most of what it does."""
    budgets = {
        key: OmegaConf.select(config, key)
        for key, is_packed in (BUDGETS | (CRITIC_BUDGETS if config.critic.enable else {})).items()
        if OmegaConf.select(config, is_packed)
    }
    if config.trainer.device == "cuda":
        longest = sum(OmegaConf.select(config, key) for key in LENGTHS)
        yield from remark_on_rows(config.actor_rollout_ref, longest, budgets)


def remark_on_rows(config: DictConfig, longest: int, budgets: Mapping[str, int]) -> Iterator[str]:
    """Of a config in which `ATTENTION` is found, for rows that are packed up to these budgets, on a GPU."""
    if OmegaConf.select(config, ATTENTION) != SDPA or not config.model.use_remove_padding:
        return
    if larger := {key: size for key, size in budgets.items() if size > longest}:
        yield (
            f"attention through {SDPA} takes every pair of tokens of a packed row, of whichever sequences, and a row "
            f"has up to {max(larger.values()):,}: install flash-attn (docs/install.md), or set "
            + " ".join(f"{key}={longest}" for key in larger)
        )


def attention_in_words(config: DictConfig) -> str:
    """Which, and why; of a config in which `ATTENTION` is found."""
    attention = OmegaConf.select(config, ATTENTION) or FLASH
    if attention != SDPA:
        return attention
    return f"{SDPA}, torch's own" + ("" if find_spec(EXTENSION) else ": flash-attn is not installed here")

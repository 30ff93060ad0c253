"""How much memory and disk a run takes, from its config and its model's: estimates of the large parts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.hardware.memory import FLOAT, Memory, Model, Training, update_memory
from cppo_verl.hardware.model_files import read_config
from cppo_verl.hardware.trainable import is_multimodal


def estimate_memory(config: DictConfig, model: Model) -> Memory:
    """Estimate what an update of the policy takes on one device (FSDP2 over all devices)."""
    parts, on_cpu = config.actor_rollout_ref, config.trainer.device == "cpu"
    actor, ranks = parts.actor, config.trainer.n_gpus_per_node * config.trainer.nnodes
    longest = config.data.max_prompt_length + config.data.max_response_length
    fixed = not actor.use_dynamic_bsz
    training = Training(
        ranks=ranks,
        tokens=longest * actor.ppo_micro_batch_size_per_gpu if fixed else actor.ppo_max_token_len_per_gpu,
        longest=longest,
        # Another engine than FSDP has its options elsewhere.
        half=OmegaConf.select(actor, "fsdp_config.dtype") != "float32",
        packed=parts.model.use_remove_padding,
        checkpointing=parts.model.enable_gradient_checkpointing,
        offload_policy=bool(OmegaConf.select(actor, "fsdp_config.offload_policy")) and not on_cpu,
        foreach=not on_cpu,
        sequence_shards=OmegaConf.select(actor, "ulysses_sequence_parallel_size") or 1,
        lora_rank=parts.model.lora_rank,
        reference=actor.use_kl_loss and not parts.model.lora_rank and on_cpu,
    )
    return replace(update_memory(model, training), critic=_critic_beside(config) * model.parameters // ranks)


def _critic_beside(config: DictConfig) -> int:
    """Bytes a parameter of a critic on the device while the policy is updated: weights, and Adam's two moments."""
    engine = config.critic.get("fsdp") or {}
    parts = {"param": FLOAT, "optimizer": 2 * FLOAT}
    stay = config.critic.enable and not engine.get("offload_policy")
    return sum(size for part, size in parts.items() if stay and not engine.get(f"{part}_offload"))


@cache
def read_model(path: str, *, trust_remote_code: bool = False) -> Model:
    """Sizes of a model, from its config alone: no weights are read.

    Raises:
        ConfigError: Its config makes no model.
        ValueError: It is of a kind that transformers cannot lay out without its weights.
    """
    config = read_config(path, trust_remote_code=trust_remote_code)
    try:
        return model_of(config, trust_remote_code=trust_remote_code)
    except ValueError:
        raise
    except Exception as error:  # a broken config leads transformers to errors of any kind
        raise ConfigError(
            f"actor_rollout_ref.model.path: the config of {path} makes no model: {type(error).__name__}: {error}"
        ) from error


def model_of(config: Any, *, trust_remote_code: bool = False) -> Model:
    """Sizes of the model that a config of transformers makes; it is laid out without memory."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    loads = AutoModelForImageTextToText if is_multimodal(config) else AutoModelForCausalLM  # as verl does
    with torch.device("meta"):
        network = loads.from_config(config, trust_remote_code=trust_remote_code)
    text = config.get_text_config()
    return Model(
        parameters=network.num_parameters(),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        vocabulary=text.vocab_size,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        heads=text.num_attention_heads,
        kv_heads=getattr(text, "num_key_value_heads", None) or text.num_attention_heads,
        head_size=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        tied=bool(text.tie_word_embeddings),
    )


def checkpoint_bytes(config: DictConfig, model: Model) -> int:
    """Bytes of one checkpoint: float32 weights and Adam's two moments, as far as `save_contents` asks for them."""
    actor = config.actor_rollout_ref.actor
    each = {"model": 4, "optimizer": 0 if config.actor_rollout_ref.model.lora_rank else 8, "hf_model": 2}
    critics = {"model": 4, "optimizer": 8, "hf_model": 2} if config.critic.enable else {}
    saved = [each.get(part, 0) for part in actor.checkpoint.save_contents]
    saved += [critics.get(part, 0) for part in config.critic.checkpoint.save_contents]
    return sum(saved) * model.parameters


def checkpoints_at_most(config: DictConfig, steps: int) -> int:
    """How many checkpoints a run of so many steps has at a time: an old one goes when the new one is complete."""
    every, keep = config.trainer.save_freq, config.trainer.max_actor_ckpt_to_keep
    if every <= 0:
        return 0
    written = -(-steps // every)
    return (min(written, keep + 1) if keep else written) + bool(config.cppo.save_best)


def bytes_of_checkpoints(folder: Path) -> int:
    """Bytes that a run's checkpoints take; `best` shares files with them."""
    files = (file for kind in ("", "best/") for file in folder.glob(f"{kind}global_step_*/**/*"))
    stats = (file.stat() for file in files if file.is_file())
    return sum({(stat.st_dev, stat.st_ino): stat.st_size for stat in stats}.values())

"""How much memory and disk a run takes, from its config and its model's: estimates of the large parts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

from omegaconf import DictConfig

GIB = 2**30


@dataclass(frozen=True)
class Model:
    """What the estimate needs to know of a model."""

    parameters: int
    layers: int
    hidden: int
    vocabulary: int


@dataclass(frozen=True)
class Memory:
    """Bytes on one device while the policy is updated, without fragmentation."""

    policy: int
    """float32 weights and gradients and Adam's two moments, sharded by FSDP."""
    reference: int
    """float32 weights, sharded; 0 where they are offloaded or there is no KL loss."""
    logits: int
    """Of one micro-batch, float32, and their gradient."""
    activations: int
    """Of one micro-batch with gradient checkpointing: the input of each layer, in bfloat16."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.policy + self.reference + self.logits + self.activations


def estimate_memory(config: DictConfig, model: Model) -> Memory:
    """Estimate what an update takes on one device (FSDP2 over all devices)."""
    parts = config.actor_rollout_ref
    actor, ranks = parts.actor, config.trainer.n_gpus_per_node * config.trainer.nnodes
    longest = config.data.max_prompt_length + config.data.max_response_length
    tokens = actor.ppo_max_token_len_per_gpu if actor.use_dynamic_bsz else longest * actor.ppo_micro_batch_size_per_gpu
    offloaded = actor.fsdp_config.param_offload, actor.fsdp_config.optimizer_offload
    bytes_each = (0 if offloaded[0] else 4 + 4) + (0 if offloaded[1] else 8)
    has_reference = actor.use_kl_loss and not parts.ref.fsdp_config.param_offload and not parts.model.lora_rank
    return Memory(
        policy=bytes_each * model.parameters // ranks,
        reference=4 * model.parameters // ranks if has_reference else 0,
        logits=2 * 4 * tokens * model.vocabulary,
        activations=2 * tokens * model.layers * model.hidden,
    )


@cache
def read_model(path: str, *, trust_remote_code: bool = False) -> Model:
    """Sizes of a model, from its config alone: no weights are read."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(os.path.expanduser(path), trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    text = config.get_text_config()
    return Model(network.num_parameters(), text.num_hidden_layers, text.hidden_size, text.vocab_size)


def checkpoint_bytes(config: DictConfig, model: Model) -> int:
    """Bytes of one checkpoint: float32 weights and Adam's two moments, as far as `save_contents` asks for them."""
    actor = config.actor_rollout_ref.actor
    each = {"model": 4, "optimizer": 0 if config.actor_rollout_ref.model.lora_rank else 8, "hf_model": 2}
    return sum(each.get(part, 0) for part in actor.checkpoint.save_contents) * model.parameters


def checkpoints_kept(config: DictConfig, steps: int) -> int:
    """How many checkpoints a run of so many steps has at its end."""
    every, keep = config.trainer.save_freq, config.trainer.max_actor_ckpt_to_keep
    if every <= 0:
        return 0
    return min(-(-steps // every), keep or steps) + bool(config.cppo.save_best)

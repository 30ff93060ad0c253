"""How much memory and disk a run takes, from its config and its model's: estimates of the large parts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cppo_verl.config import ConfigError
from cppo_verl.model_check import read_config

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
    critic: int
    """The same of the critic, if there is one: of the policy's size, but for its head."""
    reference: int
    """float32 weights, sharded; 0 where they are offloaded or there is no KL loss."""
    logits: int
    """Of one micro-batch, float32, and their gradient."""
    activations: int
    """Of one micro-batch with gradient checkpointing: the input of each layer, in bfloat16."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.policy + self.critic + self.reference + self.logits + self.activations


def estimate_memory(config: DictConfig, model: Model) -> Memory:
    """Estimate what an update takes on one device (FSDP2 over all devices)."""
    parts = config.actor_rollout_ref
    actor, ranks = parts.actor, config.trainer.n_gpus_per_node * config.trainer.nnodes
    longest = config.data.max_prompt_length + config.data.max_response_length
    tokens = actor.ppo_max_token_len_per_gpu if actor.use_dynamic_bsz else longest * actor.ppo_micro_batch_size_per_gpu
    policy, critic = _bytes_each(actor.get("fsdp_config")), _bytes_each(config.critic.get("fsdp"))
    # Another engine than FSDP has its options elsewhere.
    has_reference = actor.use_kl_loss and not parts.model.lora_rank
    has_reference = has_reference and not OmegaConf.select(parts.ref, "fsdp_config.param_offload")
    return Memory(
        policy=policy * model.parameters // ranks,
        critic=critic * model.parameters // ranks if config.critic.enable else 0,
        reference=4 * model.parameters // ranks if has_reference else 0,
        logits=2 * 4 * tokens * model.vocabulary,
        activations=2 * tokens * model.layers * model.hidden,
    )


def _bytes_each(engine: DictConfig | None) -> int:
    """Bytes a parameter takes where it is trained: weight and gradient, and Adam's two moments."""
    offloaded = [engine is not None and engine.get(f"{part}_offload") for part in ("param", "optimizer")]
    return (0 if offloaded[0] else 4 + 4) + (0 if offloaded[1] else 8)


@cache
def read_model(path: str, *, trust_remote_code: bool = False) -> Model:
    """Sizes of a model, from its config alone: no weights are read.

    Raises:
        ConfigError: Its config makes no model.
        ValueError: It is of a kind that transformers cannot lay out without its weights.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = read_config(path, trust_remote_code=trust_remote_code)
    try:
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except ValueError:
        raise
    except Exception as error:  # a broken config leads transformers to errors of any kind
        raise ConfigError(
            f"actor_rollout_ref.model.path: the config of {path} makes no model: {type(error).__name__}: {error}"
        ) from error
    text = config.get_text_config()
    return Model(network.num_parameters(), text.num_hidden_layers, text.hidden_size, text.vocab_size)


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

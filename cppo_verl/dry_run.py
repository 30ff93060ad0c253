"""`dry_run=true`: what a run would do and about how much memory it would take, without starting it."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import DictConfig
from rich.table import Table

from cppo_verl.config import CPPOConfig
from cppo_verl.planning import StepPlan
from cppo_verl.preflight import num_train_rows, planned_steps

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
    """Bytes on one device while the policy is updated: an estimate of the large parts, without fragmentation."""

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


def read_model(path: str, *, trust_remote_code: bool = False) -> Model:
    """Sizes of a model, from its config alone: no weights are read."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    text = config.get_text_config()
    return Model(network.num_parameters(), text.num_hidden_layers, text.hidden_size, text.vocab_size)


def plan_table(config: DictConfig, plan: StepPlan, model: Model) -> Table:
    """The plan and the estimate, a row a fact."""
    cppo, data, rollout = CPPOConfig.from_mapping(config.cppo), config.data, config.actor_rollout_ref.rollout
    longest, memory = data.max_prompt_length + data.max_response_length, estimate_memory(config, model)
    steps = planned_steps(config)
    rows = {
        "P, G, k": f"{cppo.pruning_rate}, {plan.rollout_n}, {plan.keep}",
        "questions": f"{num_train_rows(config):,}, {plan.questions} a step",
        "completions a step": f"{plan.sampled:,} sampled, {plan.rows:,} trained",
        "mini-batches a step": f"{plan.mini_batches} of {plan.mini_batch_rows} completions, "
        f"{config.actor_rollout_ref.actor.ppo_epochs} time(s) each, over {plan.dp_size} rank(s)",
        "steps": f"{steps:,} ({config.trainer.total_epochs} epoch(s))",
        "tokens at the most": f"{plan.sampled * data.max_response_length:,} sampled a step, "
        f"{plan.rows * longest:,} through each forward",
        "checkpoints": _checkpoints(config, steps, model),
        "model": f"{model.parameters / 1e6:,.1f} million parameters",
        "memory of an update, a device": " + ".join(
            f"{name} {_gib(size)}" for name, size in vars(memory).items() if size
        )
        + f" = about {_gib(memory.total)} GiB, the rollout engine asleep",
        "run folder": config.trainer.default_local_dir,
    }
    if config.trainer.device == "cuda":
        weights = 2 * model.parameters // rollout.tensor_model_parallel_size
        share = f"{rollout.gpu_memory_utilization:.0%} of a GPU's memory"
        rows["memory of the rollout"] = f"{share}, of which {_gib(weights)} GiB weights (bfloat16)"
    table = Table(show_header=False, title="dry run: nothing was started")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _checkpoints(config: DictConfig, steps: int, model: Model) -> str:
    every, keep = config.trainer.save_freq, config.trainer.max_actor_ckpt_to_keep
    if every <= 0:
        return "none (trainer.save_freq=-1)"
    kept = min(-(-steps // every), keep or steps) + bool(config.cppo.save_best)
    return f"every {every} steps, {kept} kept at the most: about {_gib(kept * 12 * model.parameters)} GiB of disk"


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"

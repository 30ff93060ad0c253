"""What the values of a run's config may be that, wrong, would break it after its start, or silently."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from cppo_verl.config import not_one_of


@dataclass(frozen=True)
class Number:
    """What a number may be."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = True
    above_low: bool = False
    """The lowest value itself is not allowed."""
    also: tuple[float | None, ...] = ()
    """Values with a meaning of their own (-1: none; null: decided elsewhere)."""

    def fault(self, value: object) -> str | None:
        """What the value must be; None where it is."""
        if value in self.also and not isinstance(value, bool):
            return None
        if (
            isinstance(value, bool)
            or not isinstance(value, int if self.whole else int | float)
            or not math.isfinite(value)
        ):
            return f"must be {self}"
        within = self.low <= value <= self.high and not (self.above_low and value == self.low)
        return None if within else f"must be {self}{self._nearest(value)}"

    def _nearest(self, value: float) -> str:
        if not self.whole:
            return ""
        return f"; nearest: {min(max(value, self.low), self.high):g}"

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low = "" if self.low == -math.inf else f" {'above' if self.above_low else 'from'} {self.low:g}"
        high = "" if self.high == math.inf else f" to {self.high:g}"
        special = "".join(f", or {'null' if value is None else value}" for value in self.also)
        return kind + low + high + special


COUNT = Number(1)
OPTIONAL_COUNT = Number(1, also=(None,))
EVERY = Number(1, also=(-1,))
SHARE = Number(0, 1, whole=False, above_low=True)
POSITIVE = Number(0, whole=False, above_low=True)
NOT_NEGATIVE = Number(0, whole=False)

LIMITS = {
    "trainer.n_gpus_per_node": COUNT,
    "trainer.nnodes": COUNT,
    "trainer.total_epochs": COUNT,
    "trainer.total_training_steps": OPTIONAL_COUNT,
    "trainer.save_freq": EVERY,
    "trainer.test_freq": EVERY,
    "trainer.max_actor_ckpt_to_keep": OPTIONAL_COUNT,
    "data.train_batch_size": COUNT,
    "data.max_prompt_length": COUNT,
    "data.max_response_length": COUNT,
    "data.train_max_samples": EVERY,
    "data.val_max_samples": EVERY,
    "data.seed": Number(also=(None,)),
    "data.dataloader_num_workers": Number(0),
    "reward.num_workers": COUNT,
    "actor_rollout_ref.model.lora_rank": Number(0),
    "actor_rollout_ref.rollout.n": COUNT,
    "actor_rollout_ref.rollout.temperature": POSITIVE,
    "actor_rollout_ref.rollout.top_p": SHARE,
    "actor_rollout_ref.rollout.top_k": Number(0, also=(-1,)),
    "actor_rollout_ref.rollout.gpu_memory_utilization": SHARE,
    "actor_rollout_ref.rollout.tensor_model_parallel_size": COUNT,
    "actor_rollout_ref.rollout.max_num_seqs": COUNT,
    "actor_rollout_ref.rollout.max_num_batched_tokens": COUNT,
    "actor_rollout_ref.rollout.max_model_len": OPTIONAL_COUNT,
    "actor_rollout_ref.rollout.agent.num_workers": COUNT,
    "actor_rollout_ref.rollout.val_kwargs.n": COUNT,
    "actor_rollout_ref.rollout.val_kwargs.top_p": SHARE,
    "actor_rollout_ref.rollout.val_kwargs.top_k": Number(0, also=(-1,)),
    "actor_rollout_ref.rollout.val_kwargs.temperature": NOT_NEGATIVE,
    "actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu": COUNT,
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu": OPTIONAL_COUNT,
    "actor_rollout_ref.ref.log_prob_max_token_len_per_gpu": COUNT,
    "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": OPTIONAL_COUNT,
    "actor_rollout_ref.actor.ppo_mini_batch_size": COUNT,
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": OPTIONAL_COUNT,
    "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": COUNT,
    "actor_rollout_ref.actor.ppo_epochs": COUNT,
    "actor_rollout_ref.actor.ulysses_sequence_parallel_size": COUNT,
    "actor_rollout_ref.actor.clip_ratio_low": NOT_NEGATIVE,
    "actor_rollout_ref.actor.clip_ratio_high": NOT_NEGATIVE,
    "actor_rollout_ref.actor.clip_ratio_c": Number(1, whole=False, above_low=True),
    "actor_rollout_ref.actor.entropy_coeff": NOT_NEGATIVE,
    "actor_rollout_ref.actor.kl_loss_coef": NOT_NEGATIVE,
    "actor_rollout_ref.actor.grad_clip": POSITIVE,
    "actor_rollout_ref.actor.optim.lr": POSITIVE,
    "actor_rollout_ref.actor.optim.lr_warmup_steps": Number(0, also=(-1, None)),
    "actor_rollout_ref.actor.optim.lr_warmup_steps_ratio": Number(0, 1, whole=False),
    "actor_rollout_ref.actor.optim.weight_decay": NOT_NEGATIVE,
}
"""Key to what its number may be."""

CHOICES = {
    "trainer.resume_mode": ("auto", "resume_path", "disable"),
    "actor_rollout_ref.rollout.name": ("vllm", "sglang", "trtllm"),
    "actor_rollout_ref.actor.strategy": (
        *("fsdp", "fsdp2", "fsdp_turbo", "megatron"),
        *("veomni", "torchtitan", "automodel", "mindspeed"),
    ),
    "actor_rollout_ref.actor.loss_agg_mode": (
        *("token-mean", "token-sum", "seq-mean-token-sum"),
        *("seq-mean-token-sum-norm", "seq-mean-token-mean"),
    ),
    "actor_rollout_ref.actor.kl_loss_type": tuple(
        kind + straight_through
        for kind in ("kl", "k1", "abs", "mse", "k2", "low_var_kl", "k3")
        for straight_through in ("", "+")
    ),
}
"""Key to what its word may be, in verl 0.9.1."""
LOGGERS = (
    *("wandb", "mlflow", "swanlab", "vemlp_wandb", "tensorboard", "console", "clearml", "trackio", "file"),
    *("rl_insight", "tracking"),
)
"""What `trainer.logger` may list, in verl 0.9.1."""


def number_faults(config: DictConfig) -> dict[str, str]:
    """Every number out of its range, or of another type: key to message."""
    faults = {}
    for key, number in LIMITS.items():
        try:
            value = OmegaConf.select(config, key, throw_on_missing=False)
        except InterpolationResolutionError:  # of a number that is named itself
            continue
        if why := number.fault(value):
            faults[key] = f"{key}={value!r} {why}"
    return faults


def word_faults(config: DictConfig) -> Iterator[str]:
    """Every word that verl does not know."""
    for key, choices in CHOICES.items():
        yield from not_one_of(key, OmegaConf.select(config, key), choices)
    loggers = config.trainer.logger
    for logger in [loggers] if isinstance(loggers, str) else loggers or []:
        yield from not_one_of("trainer.logger", logger, LOGGERS)


def length_faults(config: DictConfig) -> Iterator[str]:
    """Micro-batches too small for the longest sequence: verl would stop when the first one of that length comes.

    Only of a config that `number_faults` finds nothing in.
    """
    parts, longest = config.actor_rollout_ref, config.data.max_prompt_length + config.data.max_response_length
    shards = parts.actor.ulysses_sequence_parallel_size
    for key, is_dynamic in (
        ("actor.ppo_max_token_len_per_gpu", parts.actor.use_dynamic_bsz),
        ("rollout.log_prob_max_token_len_per_gpu", parts.rollout.log_prob_use_dynamic_bsz),
        ("ref.log_prob_max_token_len_per_gpu", parts.ref.log_prob_use_dynamic_bsz),
    ):
        size = OmegaConf.select(parts, key)
        if is_dynamic and size * shards < longest:
            yield (
                f"actor_rollout_ref.{key}={size} is less than the longest sequence, data.max_prompt_length + "
                f"data.max_response_length = {longest}"
                + (f" over {shards} shards" if shards > 1 else "")
                + f"; set it to {-(-longest // shards)} or more"
            )
    room = parts.rollout.max_model_len
    if room is not None and room < longest:
        yield (
            f"actor_rollout_ref.rollout.max_model_len={room} is less than data.max_prompt_length + "
            f"data.max_response_length = {longest}; set it to {longest}, or to null"
        )
    ranks, shards = config.trainer.n_gpus_per_node * config.trainer.nnodes, parts.rollout.tensor_model_parallel_size
    if ranks % shards:
        fits = max(size for size in range(1, min(shards, ranks) + 1) if ranks % size == 0)
        yield (
            f"actor_rollout_ref.rollout.tensor_model_parallel_size={shards} does not divide the {ranks} devices; "
            f"nearest that works: {fits}"
        )

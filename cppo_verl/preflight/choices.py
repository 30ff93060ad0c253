"""What the words of a run's config may be, in verl 0.9.1."""

from __future__ import annotations

from collections.abc import Container, Iterator

from omegaconf import DictConfig, ListConfig

from cppo_verl.algorithm.errors import not_one_of
from cppo_verl.preflight.values import ABSENT, value_at
from cppo_verl.weight_sync.sockets import REGISTER

CONTENTS = ("model", "optimizer", "extra", "hf_model")
"""What a checkpoint may hold."""
CHOICES = {
    "data.system": ("keep", "fold"),
    "trainer.resume_mode": ("auto", "resume_path", "disable"),
    "trainer.v1.sampler.max_off_policy_strategy": ("drop", "wait"),
    "trainer.logger": (
        *("wandb", "mlflow", "swanlab", "vemlp_wandb", "tensorboard", "console", "clearml", "trackio", "file"),
        *("rl_insight", "tracking"),
    ),
    "actor_rollout_ref.rollout.name": ("vllm", "sglang", "trtllm"),
    "actor_rollout_ref.rollout.dtype": ("auto", "half", "float16", "bfloat16", "float", "float32"),
    "actor_rollout_ref.actor.strategy": (
        *("fsdp", "fsdp2", "fsdp_turbo", "megatron"),
        *("veomni", "torchtitan", "automodel", "mindspeed"),
    ),
    "actor_rollout_ref.actor.checkpoint.save_contents": CONTENTS,
    "actor_rollout_ref.actor.checkpoint.load_contents": CONTENTS,
    "actor_rollout_ref.actor.optim.lr_scheduler_type": ("constant", "cosine"),
    "actor_rollout_ref.actor.policy_loss.loss_mode": (
        *("vanilla", "dppo_tv", "dppo_kl", "gspo", "sapo", "gpg"),
        *("clip_cov", "kl_cov", "geo_mean", "dro", "cispo", "bypass_mode"),
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
"""Key to what its word, or each of its words, may be."""
REGISTERED = ("actor_rollout_ref.actor.policy_loss.loss_mode",)
"""Keys that `actor_rollout_ref.model.external_lib` may register words of its own for."""


def word_faults(config: DictConfig, wrong: Container[str] = ()) -> Iterator[str]:
    """Every word that verl does not know, but for keys that are wrong already."""
    libraries = value_at(config, "actor_rollout_ref.model.external_lib")
    is_plain = libraries in (None, ABSENT, REGISTER, [REGISTER])
    for key, choices in CHOICES.items():
        value = value_at(config, key)
        if value is ABSENT or key in wrong or (key in REGISTERED and not is_plain):
            continue
        for word in value if isinstance(value, ListConfig) else [value]:
            yield from not_one_of(key, word, choices)

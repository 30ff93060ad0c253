"""What the values of a run's config may be that, wrong, would break it after its start, or silently."""

from __future__ import annotations

import math
import reprlib

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cppo_verl.preflight.value_kinds import Flag, Number, Text

ABSENT = object()


COUNT = Number(1)
OPTIONAL_COUNT = Number(1, also=(None,))
EVERY = Number(1, also=(-1,))
SHARE = Number(0, 1, whole=False, above_low=True)
OPTIONAL_SHARE = Number(0, 1, whole=False, above_low=True, also=(None,))
POSITIVE = Number(0, math.inf, whole=False, above_low=True)
OPTIONAL_POSITIVE = Number(0, math.inf, whole=False, above_low=True, also=(None,))
NOT_NEGATIVE = Number(0, math.inf, whole=False)

LIMITS = {
    "trainer.n_gpus_per_node": Number(1, 1024),
    "trainer.nnodes": Number(1, 10**5),
    "trainer.total_epochs": COUNT,
    "trainer.total_training_steps": OPTIONAL_COUNT,
    "trainer.save_freq": EVERY,
    "trainer.test_freq": EVERY,
    "trainer.max_actor_ckpt_to_keep": OPTIONAL_COUNT,
    "trainer.max_critic_ckpt_to_keep": OPTIONAL_COUNT,
    "data.train_batch_size": COUNT,
    "data.max_prompt_length": COUNT,
    "data.max_response_length": COUNT,
    "data.train_max_samples": EVERY,
    "data.val_max_samples": EVERY,
    "data.seed": Number(-(2**63), 2**63 - 1, also=(None,)),
    "data.dataloader_num_workers": Number(0),
    "reward.num_workers": COUNT,
    "trainer.v1.separate_async.parameter_sync_step": COUNT,
    "trainer.v1.separate_async.num_warmup_batches": NOT_NEGATIVE,
    "trainer.v1.colocate_async.num_warmup_batches": NOT_NEGATIVE,
    "trainer.v1.sampler.max_off_policy_threshold": OPTIONAL_COUNT,
    "actor_rollout_ref.rollout.nnodes": Number(0, 10**5),
    "actor_rollout_ref.rollout.n_gpus_per_node": Number(0, 1024),
    "actor_rollout_ref.model.lora_rank": Number(0),
    "actor_rollout_ref.rollout.n": Number(1, 10**4),
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
    "actor_rollout_ref.actor.clip_ratio_c": Number(1, math.inf, whole=False, above_low=True),
    "actor_rollout_ref.actor.policy_loss.clip_cov_ratio": OPTIONAL_SHARE,
    "actor_rollout_ref.actor.policy_loss.kl_cov_ratio": OPTIONAL_SHARE,
    "actor_rollout_ref.actor.policy_loss.ppo_kl_coef": Number(0, math.inf, whole=False, also=(None,)),
    "actor_rollout_ref.actor.policy_loss.dro_beta": OPTIONAL_POSITIVE,
    "actor_rollout_ref.actor.tau_pos": POSITIVE,
    "actor_rollout_ref.actor.tau_neg": POSITIVE,
    "actor_rollout_ref.actor.loss_scale_factor": OPTIONAL_POSITIVE,
    "actor_rollout_ref.actor.entropy_coeff": NOT_NEGATIVE,
    "actor_rollout_ref.actor.kl_loss_coef": NOT_NEGATIVE,
    "actor_rollout_ref.actor.optim.clip_grad": POSITIVE,
    "actor_rollout_ref.actor.optim.lr": POSITIVE,
    "actor_rollout_ref.actor.optim.lr_warmup_steps": Number(0, also=(-1, None)),
    "actor_rollout_ref.actor.optim.lr_warmup_steps_ratio": Number(0, 1, whole=False),
    "actor_rollout_ref.actor.optim.weight_decay": NOT_NEGATIVE,
    "algorithm.gamma": Number(0, 1, whole=False),
    "algorithm.lam": Number(0, 1, whole=False),
    "critic.optim.lr": POSITIVE,
    "critic.optim.weight_decay": NOT_NEGATIVE,
    "critic.ppo_mini_batch_size": COUNT,
    "critic.ppo_micro_batch_size_per_gpu": OPTIONAL_COUNT,
    "critic.ppo_max_token_len_per_gpu": COUNT,
    "critic.forward_max_token_len_per_gpu": COUNT,
    "critic.ppo_epochs": COUNT,
    "critic.cliprange_value": POSITIVE,
}
"""Key to what its number may be."""


TEXT, OPTIONAL_TEXT, TEXTS = Text(), Text(null=True), Text(many=True)
KINDS = {
    "trainer.default_local_dir": TEXT,
    "trainer.device": TEXT,
    "trainer.logger": TEXTS,
    "trainer.resume_mode": TEXT,
    "trainer.resume_from_path": OPTIONAL_TEXT,
    "trainer.rollout_data_dir": OPTIONAL_TEXT,
    "trainer.validation_data_dir": OPTIONAL_TEXT,
    "trainer.use_v1": Flag(),
    "trainer.val_only": Flag(),
    "trainer.val_before_train": Flag(),
    "trainer.v1.trainer_mode": TEXT,
    "data.train_files": TEXTS,
    "data.val_files": TEXTS,
    "data.prompt_key": TEXT,
    "data.filter_overlong_prompts": Flag(),
    "reward.custom_reward_function.path": OPTIONAL_TEXT,
    "reward.custom_reward_function.name": OPTIONAL_TEXT,
    "reward.reward_model.enable": Flag(),
    "reward.reward_model.model_path": OPTIONAL_TEXT,
    "algorithm.adv_estimator": TEXT,
    "actor_rollout_ref.model.path": TEXT,
    "actor_rollout_ref.model.tokenizer_path": OPTIONAL_TEXT,
    "actor_rollout_ref.model.external_lib": Text(null=True, many=True),
    "actor_rollout_ref.model.trust_remote_code": Flag(),
    "actor_rollout_ref.rollout.log_prob_use_dynamic_bsz": Flag(),
    "actor_rollout_ref.ref.log_prob_use_dynamic_bsz": Flag(),
    "actor_rollout_ref.actor.use_dynamic_bsz": Flag(),
    "actor_rollout_ref.actor.use_kl_loss": Flag(),
    "critic.enable": Flag(),
    "critic.use_dynamic_bsz": Flag(),
    "actor_rollout_ref.actor.checkpoint.save_contents": Text(many=True, one=False),
    "actor_rollout_ref.actor.checkpoint.load_contents": Text(many=True, one=False),
}
"""Key to what else its value may be."""


def block_faults(config: DictConfig) -> list[str]:
    """Every block of options that is none; nothing else can be checked then."""
    paths = (key.split(".")[:-1] for key in (*LIMITS, *KINDS, "cppo."))
    faults: dict[str, str] = {}
    for block in dict.fromkeys(".".join(path[:end]) for path in paths for end in range(1, len(path) + 1)):
        value = value_at(config, block)
        if not isinstance(value, DictConfig) and not block.startswith(tuple(f"{none}." for none in faults)):
            faults[block] = f"{block}={None if value is ABSENT else value!r} must be a block of options"
    return list(faults.values())


def value_faults(config: DictConfig) -> dict[str, str]:
    """Every number out of its range, and every value of another type: key to message."""
    faults = {}
    for key, kind in (LIMITS | KINDS).items():
        value = value_at(config, key)
        if value is not ABSENT and (why := kind.fault(value)):
            faults[key] = f"{key}={reprlib.repr(value) if key in LIMITS else repr(value)} {why}"
    return faults


def value_at(config: DictConfig, key: str) -> object:
    """A key's value; `ABSENT` of one that the config does not have, or that is derived from a wrong one."""
    try:
        return OmegaConf.select(config, key, default=ABSENT)
    except OmegaConfBaseException:
        return ABSENT

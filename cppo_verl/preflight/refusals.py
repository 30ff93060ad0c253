"""Configs that CPPO refuses: why it cannot work with them, and the nearest one that works."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from omegaconf import DictConfig, OmegaConf

from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.preflight.asynchronous import colocated_refusals, seed_refusal, separate_refusals
from cppo_verl.preflight.choices import CHOICES
from cppo_verl.preflight.correction import LOSS, correction_refusals
from cppo_verl.preflight.critic import GAE, critic_refusals
from cppo_verl.preflight.losses import loss_refusals
from cppo_verl.preflight.other_engines import engine_refusals
from cppo_verl.preflight.plan import SEPARATE, is_separate
from cppo_verl.preflight.unread import unread_faults
from cppo_verl.preflight.verl_options import advantage_refusals, unread_refusals
from cppo_verl.weight_sync import sockets

ENGINES = {
    **dict.fromkeys(("fsdp", "fsdp2", "fsdp_turbo"), ("dp", "fsdp_config")),
    **{engine: (engine, engine) for engine in ("megatron", "veomni", "torchtitan")},
}
"""`actor_rollout_ref.actor.strategy` to verl's `model_engine` for it, and to the options that this gives the actor."""
RESUMED = ("model", "optimizer", "extra")
"""What of a checkpoint a run goes on with; `extra` is the schedule and the random state."""
V1_MODES = ("cppo_sync", "cppo_colocate_async", SEPARATE)
"""`trainer.v1.trainer_mode`s that are CPPO's."""


def refusals(config: DictConfig) -> list[str]:
    """Why CPPO cannot work with this config; empty where it can."""
    estimator, drops = config.algorithm.adv_estimator, config.cppo.zero_variance == "drop"

    def on(key: str) -> bool:
        return bool(OmegaConf.select(config, key))

    faults = [
        (
            on("algorithm.use_kl_in_reward"),
            "algorithm.use_kl_in_reward=true: a reward that needs the reference log-probs is not known before the "
            "pruning; use actor_rollout_ref.actor.use_kl_loss=true",
        ),
        *advantage_refusals(config),
        *unread_refusals(config),
        *(critic_refusals(config) if estimator == GAE or on("critic.enable") else ()),
        *_v1_refusals(config),
        seed_refusal(config),
        *(separate_refusals(config) if is_separate(config) else colocated_refusals(config)),
        _engine_refusal(config),
        _reference_refusal(config),
        (
            on("trainer.critic_warmup"),
            "trainer.critic_warmup must be 0: in steps that update only a critic nothing would wake the rollout engine",
        ),
        (on("distillation.enabled"), "distillation.enabled=true is not supported"),
        (
            on("actor_rollout_ref.actor.checkpoint.async_save"),
            "actor_rollout_ref.actor.checkpoint.async_save=true: a checkpoint would be taken for complete while it is "
            "written; set it to false",
        ),
        (
            on("trainer.default_hdfs_dir"),
            "trainer.default_hdfs_dir: verl 0.9.1 cannot go on from a checkpoint in HDFS; set it to null",
        ),
        (
            on("trainer.del_local_ckpt_after_load"),
            "trainer.del_local_ckpt_after_load=true deletes the checkpoint that the next start would need",
        ),
        (
            on("trainer.remove_previous_ckpt_in_save"),
            "trainer.remove_previous_ckpt_in_save=true deletes the old checkpoint before the new one is complete; set "
            "trainer.max_actor_ckpt_to_keep=1",
        ),
        _critics_limit(config.trainer),
        (
            on("trainer.val_only") and not on("trainer.val_before_train"),
            "trainer.val_only=true with trainer.val_before_train=false: verl 0.9.1 would train; set "
            "trainer.val_before_train=true",
        ),
        (
            on("reward.reward_model.enable") and not on("reward.reward_model.enable_resource_pool"),
            "reward.reward_model.enable=true needs reward.reward_model.enable_resource_pool=true: completions are "
            "scored while the rollout engine is awake",
        ),
        (
            on("skip.rollout.enable") and drops and config.cppo.max_gen_rounds != 1,
            "skip.rollout.enable=true replays one rollout a step; use cppo.max_gen_rounds=1 with "
            "cppo.zero_variance=drop",
        ),
        (
            drops and not on("actor_rollout_ref.actor.use_dynamic_bsz"),
            "cppo.zero_variance=drop may train on fewer rows than planned, which fixed micro-batches need not "
            "divide; set actor_rollout_ref.actor.use_dynamic_bsz=true",
        ),
    ]
    if config.cppo.get("skip_old_log_prob"):
        faults += _skipping_refusals(config)
    faults += engine_refusals(config)
    unconnected = sockets.fault(config)
    found = [message for is_fault, message in [*faults, (unconnected, unconnected)] if is_fault]
    return [*found, *correction_refusals(config), *loss_refusals(config), *unread_faults(config)]


def _critics_limit(trainer: DictConfig) -> tuple[bool, str]:
    """Of a number of checkpoints that is the critic's alone: one is kept or deleted as a whole."""
    kept, of_critic = (trainer.get(f"max_{model}_ckpt_to_keep") for model in ("actor", "critic"))
    return (
        of_critic is not None and of_critic != kept,
        f"trainer.max_critic_ckpt_to_keep={of_critic}, but a checkpoint is kept whole, as "
        f"trainer.max_actor_ckpt_to_keep={'null' if kept is None else kept} says; set both to {of_critic}, or "
        "trainer.max_critic_ckpt_to_keep=null",
    )


def _skipping_refusals(config: DictConfig) -> list[tuple[bool, str]]:
    """Of `cppo.skip_old_log_prob`: whether each is a fault, and the message."""
    actor, batch = config.actor_rollout_ref.actor, config.data.train_batch_size
    needs = "cppo.skip_old_log_prob=true needs steps of one pass over one mini-batch"
    cppo = CPPOConfig.from_mapping(config.cppo)
    corrected = [
        f"algorithm.rollout_correction.{key}={value}"
        for key in ("bypass_mode", "rollout_is", "rollout_rs")
        if (value := OmegaConf.select(config, f"algorithm.rollout_correction.{key}"))
    ]
    return [
        (
            actor.ppo_epochs != 1,
            f"{needs}: actor_rollout_ref.actor.ppo_epochs={actor.ppo_epochs} must be 1",
        ),
        (
            actor.ppo_mini_batch_size != batch,
            f"{needs}: actor_rollout_ref.actor.ppo_mini_batch_size={actor.ppo_mini_batch_size} must be "
            f"data.train_batch_size={batch}",
        ),
        (
            cppo.mini_batch == "questions" and cppo.allocation and bool(cppo.rate),
            f"{needs}: cppo.mini_batch=questions with cppo.pruning_rate={cppo.pruning_rate} makes more; set it to "
            "completions, or cppo.allocation=false",
        ),
        (
            bool(corrected),
            f"cppo.skip_old_log_prob=true leaves out what {' and '.join(corrected)} compares with; give one of them",
        ),
        (
            actor.policy_loss.loss_mode not in CHOICES[LOSS],
            f"cppo.skip_old_log_prob=true works with verl's own losses, not with {LOSS}={actor.policy_loss.loss_mode}",
        ),
        (
            OmegaConf.select(actor, "router_replay.mode", default="disabled") == "R2",
            "cppo.skip_old_log_prob=true leaves out the forward in which actor_rollout_ref.actor.router_replay.mode=R2 "
            "notes the routes; give one of them",
        ),
    ]


def _v1_refusals(config: DictConfig) -> list[tuple[bool, str]]:
    """Of verl's V1 trainers: whether each is a fault, and the message."""
    mode, sampler, v1 = config.trainer.v1.trainer_mode, config.trainer.v1.sampler, config.trainer.use_v1

    def on(key: str) -> bool:
        return bool(OmegaConf.select(config, key))

    return [
        (
            v1 and mode not in V1_MODES,
            f"trainer.v1.trainer_mode={mode} is not one of {', '.join(V1_MODES)}",
        ),
        (
            v1 and on("trainer.v1.sampler.custom_sampler.path"),
            f"trainer.v1.sampler.custom_sampler.path={sampler.custom_sampler.path}: CPPO takes questions from a queue "
            "of its own; set it to null",
        ),
        (v1 and on("skip.rollout_tq.enable"), "skip.rollout_tq.enable=true is not supported: it replays whole batches"),
    ]


def resume_refusals(config: DictConfig) -> Iterator[str]:
    """Checkpoints that do not hold, or give back, all that a run goes on with."""
    models = ["actor_rollout_ref.actor"] + ["critic"] * bool(config.critic.enable)
    for model, key in product(models, ("save_contents", "load_contents")):
        contents = list(OmegaConf.select(config, model).checkpoint[key])
        lacks = [part for part in RESUMED if part not in contents]
        if config.trainer.save_freq > 0 and lacks:
            yield (
                f"{model}.checkpoint.{key}=[{','.join(contents)}] leaves out {', '.join(lacks)} "
                "(extra: schedule and random state), which a resume would silently start afresh; set it to "
                f"[{','.join([*contents, *lacks])}], or save none: trainer.save_freq=-1"
            )


def _engine_refusal(config: DictConfig) -> tuple[bool, str]:
    """Of a strategy whose options verl's config for another one lacks."""
    strategy = config.actor_rollout_ref.actor.strategy
    engine, block = ENGINES.get(strategy, (None, None))
    return (
        engine is not None and OmegaConf.select(config.actor_rollout_ref.actor, block) is None,
        f"actor_rollout_ref.actor.strategy={strategy} needs actor_rollout_ref.actor.{block}, which this config, of "
        f"another engine of verl's, lacks; give model_engine={engine} too",
    )


def _reference_refusal(config: DictConfig) -> tuple[bool, str]:
    """Of `device=gpu`, which sets an option that only FSDP's reference has; verl takes no unknown ones."""
    parts, key = config.actor_rollout_ref, "actor_rollout_ref.ref.fsdp_config"
    strategy = parts.ref.strategy
    block = ENGINES.get(strategy, (None, "fsdp_config"))[1]
    is_of_engine = OmegaConf.select(parts.actor, block) is not None  # else the whole config is of another one
    return (
        is_of_engine and block != "fsdp_config" and OmegaConf.select(config, key) is not None,
        f"{key} is no option of a reference of {strategy}'s; give ~{key}",
    )

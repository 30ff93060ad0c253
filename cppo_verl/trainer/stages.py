"""What the steps of verl's V0 and V1 trainers share: the advantage, the settings of the update, the metrics."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig
from verl import DataProto
from verl.trainer.ppo.metric_utils import (
    compute_data_metrics,
    compute_throughout_metrics,
    compute_timing_metrics,
    compute_variance_proxy_metrics,
)
from verl.trainer.ppo.ray_trainer import compute_advantage, compute_spec_decode_metrics
from verl.utils.py_functional import rename_dict

from cppo_verl.algorithm.metrics import UPDATES
from cppo_verl.algorithm.step_plan import StepPlan
from cppo_verl.trainer.batch_advantages import estimator_of_questions
from cppo_verl.watch.alarms import share_clipped

SPECULATED = tuple(f"spec_num_{what}" for what in ("draft_tokens", "accepted_tokens", "verify_steps"))
"""What an engine that decodes speculatively tells of a completion, in the order in which verl takes it."""


def outcome_advantages(batch: DataProto, config: DictConfig) -> DataProto:
    """A over all G completions of a question (paper Eq. 2), by which they are pruned.

    It is never renormalised over those that are kept; some estimators have a part that is of all that a step samples
    (`finish_advantages`).
    """
    estimator, by_std = estimator_of_questions(config)
    return compute_advantage(
        batch,
        adv_estimator=estimator,
        num_repeat=config.actor_rollout_ref.rollout.n,
        norm_adv_by_std_in_grpo=by_std,
        config=config.algorithm,
    )


def token_advantages(batch: DataProto, config: DictConfig) -> DataProto:
    """GAE over the tokens of each completion (arXiv 1506.02438, Eq. 16), from rewards and values; verl whitens it."""
    algorithm = config.algorithm
    return compute_advantage(
        batch, adv_estimator=algorithm.adv_estimator, gamma=algorithm.gamma, lam=algorithm.lam, config=algorithm
    )


def update_settings(config: DictConfig, mini_batch_rows: int) -> dict[str, Any]:
    """What verl 0.9.1 tells its workers about an update, with the planned mini-batch.

    verl's own is always `ppo_mini_batch_size * rollout.n` rows, which also divide the loss. Distillation, refused at
    start, is left out.
    """
    actor = config.actor_rollout_ref.actor
    return {
        "calculate_entropy": actor.calculate_entropy or actor.entropy_coeff != 0.0,
        "distillation_use_topk": False,
        "distillation_only": False,
        "global_batch_size": mini_batch_rows,
        "mini_batch_size": mini_batch_rows,
        "epochs": actor.ppo_epochs,
        "seed": actor.data_loader_seed,
        "dataloader_kwargs": {"shuffle": actor.shuffle},
        "compute_loss": True,
        "temperature": config.actor_rollout_ref.rollout.temperature,
    }


def actor_metrics(reported: dict[str, Any], config: DictConfig) -> dict[str, Any]:
    """What workers report of an update, under the names that verl logs it by, not yet reduced over micro-batches; and
    the share of the step's updates whose gradient was clipped."""
    metrics = rename_dict(reported, "actor/")
    metrics["perf/mfu/actor"] = metrics.pop("actor/mfu")
    clip_grad = config.actor_rollout_ref.actor.optim.get("clip_grad")
    return metrics | share_clipped(metrics["actor/grad_norm"], clip_grad)


def clip_fractions(metrics: dict[str, Any]) -> list[float]:
    """Share of tokens whose ratio was clipped in each update, in order, from what `actor_metrics` returns; empty where
    the loss does not say."""
    of_updates = metrics.get("actor/pg_clipfrac", [])
    return list(getattr(of_updates, "values", of_updates))  # verl's `Metric`, or a list


def epoch_metrics(plan: StepPlan, num_questions: int, config: DictConfig) -> dict[str, int]:
    """How many optimiser updates a pass over the training questions has."""
    return {"cppo/updates_per_epoch": plan.updates_per_epoch(num_questions, config.actor_rollout_ref.actor.ppo_epochs)}


def update_count(rows: int, mini_batch_rows: int, config: DictConfig) -> dict[str, int]:
    """How many optimiser updates so many rows are, in mini-batches of so many; 0 of no rows."""
    return {UPDATES: rows // mini_batch_rows * config.actor_rollout_ref.actor.ppo_epochs if rows else 0}


def data_metrics(sampled: DataProto, trained: DataProto, gradient_norm: float | None) -> dict[str, float]:
    """verl's curves describe what was sampled, so that GRPO's and CPPO's can be compared."""
    metrics = compute_data_metrics(sampled, use_critic="values" in sampled.batch)
    metrics |= compute_spec_decode_metrics(*(sampled.non_tensor_batch.get(name) for name in SPECULATED))
    return metrics | compute_variance_proxy_metrics(trained, gradient_norm) if len(trained) else metrics


def timing_metrics(
    sampled: DataProto, trained: DataProto, timing_raw: dict[str, float], devices: int
) -> dict[str, float]:
    """Seconds of each stage so far, and time a token over the tokens that a stage really saw: generation the
    sampled ones, the forwards and the update the kept ones. verl's throughput is of the sampled ones.

    Args:
        sampled: All completions of the step.
        trained: Those that were trained on.
        timing_raw: Seconds by stage, `step` among them.
        devices: By which verl divides its throughput.
    """
    timing = compute_timing_metrics(sampled, timing_raw)
    if len(trained):
        kept_timing = compute_timing_metrics(trained, timing_raw)
        timing |= {k: v for k, v in kept_timing.items() if k.rpartition("/")[2] in ("ref", "update_actor")}
    tokens = DataProto(meta_info={"global_token_num": [sampled.batch["attention_mask"].sum().item()]})
    return timing | compute_throughout_metrics(tokens, timing_raw, devices)

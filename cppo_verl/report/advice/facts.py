"""What is known of a run that is asked about: the split of its step, its sizes, and what else its log tells."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.options import as_written
from cppo_verl.report.advice.logs import TrainingLog
from cppo_verl.report.split import Split

ROLLOUT, ACTOR = "actor_rollout_ref.rollout", "actor_rollout_ref.actor"
STALENESS = "training/off_policy/trajectory_staleness_worst/mean"
SEPARATE_TIMERS = r"^timing_s/switch_"
"""verl's, of its `separate_async` trainer alone."""


@dataclass(frozen=True)
class Facts:
    """A GRPO run; None where its log or config does not tell."""

    split: Split
    """Mean seconds of a step."""

    steps: int
    """Steps that it is the mean of."""

    rollout_n: int
    """G."""

    batch: int | None = None
    """Questions of a step."""

    updates: int | None = None
    """Optimiser updates of a step: mini-batches times PPO epochs."""

    concurrent: int | None = None
    """Completions that an engine decodes at once (`max_num_seqs`)."""

    flat: float | None = None
    """Share of the questions whose rewards are all equal."""

    overlapped: bool = False
    """Completions are sampled while others are trained on, so that `generation` is only what the trainer waits."""

    engine_busy: float | None = None
    """Share of the time in which there are requests at the engine."""

    tail: float | None = None
    """Tokens of the longest response of a step over the mean."""

    truncated: float | None = None
    """Share of the responses that end at `max_response_length`."""

    scoring: float | None = None
    """Seconds that the slowest request of a step was scored, which is part of `generation`."""

    @property
    def most(self) -> float:
        """How many times faster the engines allow, where completions are sampled while others are trained on."""
        return 1 / self.engine_busy if self.overlapped and self.engine_busy else math.inf


def facts_of(log: TrainingLog, rollout_n: int | None = None) -> Facts:
    """What a log tells.

    Args:
        log: Of a run.
        rollout_n: G, if a person gave it; else it is the log's.

    Raises:
        ConfigError: The run prunes or trains a critic, or nothing tells G.
    """
    steps = log.steps
    if _prunes(log):
        raise ConfigError("this run prunes, and its split is not GRPO's; give the log of a run with P = 0")
    split = Split.of(steps).per(len(steps))
    if split.seconds["critic"]:
        raise ConfigError("this run trains a critic, whose values are of every token; CPPO prunes for GRPO alone")
    batch, questions = _whole(log, "data.train_batch_size"), _mean(steps, "cppo/questions")
    idle = _mean(steps, "cppo/idle/engine")
    return Facts(
        split,
        len(steps),
        rollout_n or _rollout_n(log),
        batch=batch or (round(questions) if questions else None),
        updates=_updates(log, batch),
        concurrent=_whole(log, f"{ROLLOUT}.max_num_seqs"),
        flat=_over(_mean(steps, "cppo/zero_variance_questions"), questions),
        overlapped=_is_overlapped(log),
        engine_busy=None if idle is None else 1 - idle,
        tail=_over(_mean(steps, "response_length/max"), _mean(steps, "response_length/mean")),
        truncated=_mean(steps, "response_length/clip_ratio"),
        scoring=_mean(steps, "timing_s/agent_loop/slowest/compute_score"),
    )


def _rollout_n(log: TrainingLog) -> int:
    """G, by the config or by the counts that this package logs."""
    counted = _over(_mean(log.steps, "cppo/completions_sampled"), _mean(log.steps, "cppo/questions"))
    n = _whole(log, f"{ROLLOUT}.n") or (counted and round(counted))
    if not n:
        raise ConfigError("the log does not tell G, the completions per question (rollout.n); give --n")
    return n


def _prunes(log: TrainingLog) -> bool:
    """By its P, or, where that is not known, by what it kept; verl's own runs have neither."""
    rate = log.setting("cppo.pruning_rate")
    if rate is not None:
        return float(as_written(rate)) > 0
    sampled, kept = (_mean(log.steps, f"cppo/completions_{what}") for what in ("sampled", "kept"))
    return bool(sampled and kept) and kept < sampled


def _updates(log: TrainingLog, batch: int | None) -> int | None:
    mini_batch, epochs = _whole(log, f"{ACTOR}.ppo_mini_batch_size"), _whole(log, f"{ACTOR}.ppo_epochs")
    return None if None in (batch, mini_batch, epochs) else -(-batch // mini_batch) * epochs


def _is_overlapped(log: TrainingLog) -> bool:
    return bool(_mean(log.steps, STALENESS)) or not log.steps.filter(regex=SEPARATE_TIMERS).empty


def _whole(log: TrainingLog, key: str) -> int | None:
    value = log.setting(key)
    return value if isinstance(value, int) and value > 0 else None


def _mean(steps: pd.DataFrame, column: str) -> float | None:
    return float(steps[column].mean()) if column in steps and steps[column].notna().any() else None


def _over(part: float | None, whole: float | None) -> float | None:
    return part / whole if whole and part is not None else None

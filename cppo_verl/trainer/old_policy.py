"""The old policy's log-probabilities: whether a step computes them, and what it does where it does not."""

from __future__ import annotations

import torch
from omegaconf import DictConfig


def has_old_forward(config: DictConfig) -> bool:
    """Whether a forward computes the old log-probs.

    Else the loss does not read them (`cppo.skip_old_log_prob`, see `first_pass`), or they are the rollout's
    (`algorithm.rollout_correction.bypass_mode`).
    """
    correction = config.algorithm.get("rollout_correction")
    return not (config.cppo.get("skip_old_log_prob") or (correction and correction.get("bypass_mode")))


def corrects_rollout(config: DictConfig) -> bool:
    """Whether verl's decoupled rollout correction compares the old log-probs with the rollout's, if it has those.

    verl 0.9.1 does so where it computes the advantage, which with CPPO comes before the old log-probs.
    """
    return config.algorithm.get("rollout_correction") is not None and has_old_forward(config)


def unread_log_probs(like: torch.Tensor) -> torch.Tensor:
    """NaN of a column's shape, padded or nested: the place of old log-probs that the loss does not read."""
    return like * torch.nan

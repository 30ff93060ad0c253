"""`cppo.skip_old_log_prob`: the old policy's forward left out, in steps of one pass over one mini-batch.

There the update's forward is the old policy's: no weight has changed since. The ratio pi/pi_old of the loss (paper
Eq. 9) is then 1, and its gradient that of the log-probability, which is what a detached copy of the update's own
log-probabilities gives.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from omegaconf import DictConfig, open_dict

if TYPE_CHECKING:
    from verl.trainer.ppo.core_algos import PolicyLossFn

PREFIX = "first_pass_"
"""Of the name under which each of verl's policy losses is registered once more."""


def register_losses() -> None:
    """Register verl's policy losses in the form that needs no old log-probabilities."""
    from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY, register_policy_loss  # which calls this when imported

    for name, loss in list(POLICY_LOSS_REGISTRY.items()):
        register_policy_loss(f"{PREFIX}{name}")(partial(first_pass_loss, loss))


def first_pass_loss(loss: PolicyLossFn, old_log_prob: torch.Tensor, log_prob: torch.Tensor, *args, **kwargs):
    """A policy loss of verl's at pi_old = pi.

    Args:
        loss: The loss.
        old_log_prob: Not read.
        log_prob: Of the policy, `(num_rows, response_width)`.
        args: The loss's.
        kwargs: The loss's.

    Returns:
        What the loss returns.
    """
    return loss(log_prob.detach(), log_prob, *args, **kwargs)


def choose_loss(config: DictConfig) -> None:
    """Make a run's workers use their loss in this form, where the config asks for it."""
    policy_loss = config.actor_rollout_ref.actor.policy_loss
    if config.cppo.get("skip_old_log_prob") and not policy_loss.loss_mode.startswith(PREFIX):
        with open_dict(policy_loss):
            policy_loss.loss_mode = f"{PREFIX}{policy_loss.loss_mode}"

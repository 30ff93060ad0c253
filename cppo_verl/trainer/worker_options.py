"""Which of CPPO's options the workers read, and where."""

from __future__ import annotations

from omegaconf import DictConfig

from cppo_verl.preflight.plan import scaled_learning_rate
from cppo_verl.trainer.first_pass import choose_loss


def set_worker_options(config: DictConfig) -> None:
    """Write `cppo.skip_old_log_prob` and `cppo.lr_scale` to where verl's workers look, in a run's config, in place.

    To be called once, by what makes the trainer: the config that is saved with the run is as it was given.
    """
    choose_loss(config)
    config.actor_rollout_ref.actor.optim.lr = scaled_learning_rate(config)

"""What verl's workers are given through the config: CPPO's options, and the modules that they import."""

from __future__ import annotations

from omegaconf import DictConfig, open_dict

from cppo_verl.preflight.plan import scaled_learning_rate
from cppo_verl.trainer.dataset import choose_dataset
from cppo_verl.trainer.first_pass import choose_loss
from cppo_verl.trainer.losses import set_loss_options

LOG_PROBS = "cppo_verl.trainer.log_probs"
"""What workers import beside `actor_rollout_ref.model.external_lib`."""


def set_worker_options(config: DictConfig) -> None:
    """Write `cppo.skip_old_log_prob`, `cppo.lr_scale` and what a loss needs (`losses`) to where verl's workers look, in
    a run's config, in place; have them import `log_probs`; and choose the data set for `data.system`.

    To be called once, by what makes the trainer: the config that is saved with the run is as it was given.
    """
    set_loss_options(config)
    choose_loss(config)
    choose_dataset(config)
    config.actor_rollout_ref.actor.optim.lr = scaled_learning_rate(config)
    _import_in_workers(config.actor_rollout_ref.model, LOG_PROBS)


def _import_in_workers(model: DictConfig, module: str) -> None:
    libraries = model.get("external_lib") or []
    libraries = [libraries] if isinstance(libraries, str) else list(libraries)
    if module not in libraries:
        with open_dict(model):
            model.external_lib = [*libraries, module]

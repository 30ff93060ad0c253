"""The policy loss and the learning rate of a config: what fails at the first update, or is not what it says."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from cppo_verl.preflight.correction import LOSS

ACTOR = "actor_rollout_ref.actor"
BY_SEQUENCE = ("sapo", "geo_mean")
"""Losses that are the mean over a mini-batch's completions, whatever `loss_agg_mode` is."""
SEQUENCE_MEAN = "seq-mean-token-mean"
HIGHEST_RATE = 0.1
"""Of Adam, the largest learning rate. An update moves each weight by about so much, and those of a weight matrix are of
the order of 0.01: from here on one update loses the model."""


def loss_refusals(config: DictConfig) -> Iterator[str]:
    """Why the loss of a config is not what it says, or destroys the model."""
    actor = config.actor_rollout_ref.actor
    loss, aggregation = actor.policy_loss.loss_mode, actor.loss_agg_mode
    if loss == "dro" and actor.policy_loss.get("dro_beta") is None:
        yield f"{LOSS}=dro needs {ACTOR}.policy_loss.dro_beta above 0, the weight of its squared log-ratio"
    if loss in BY_SEQUENCE and aggregation != SEQUENCE_MEAN:
        yield (
            f"{ACTOR}.loss_agg_mode={aggregation} with {LOSS}={loss}: this loss is a mean over completions, and only "
            f"the KL term would be aggregated so; set it to {SEQUENCE_MEAN}"
        )
    if config.algorithm.adv_estimator == "grpo_passk" and config.actor_rollout_ref.rollout.n < 2:
        yield (
            "algorithm.adv_estimator=grpo_passk compares a question's best two completions: "
            f"actor_rollout_ref.rollout.n={config.actor_rollout_ref.rollout.n} must be 2 or more"
        )
    for part in (ACTOR, "critic") if config.critic.enable else (ACTOR,):
        yield from rate_faults(config, f"{part}.optim")


def rate_faults(config: DictConfig, key: str) -> Iterator[str]:
    """A learning rate at which a model would be lost in one update.

    Args:
        config: The run's.
        key: Of its optimiser's options.
    """
    options = OmegaConf.select(config, key)
    optimizer = options.get("optimizer") or "AdamW"
    if "adam" in str(optimizer).lower() and options.lr > HIGHEST_RATE:
        yield (
            f"{key}.lr={options.lr:g}: {optimizer} moves every weight by about so much in an update, and a model's "
            f"weights are of the order of 0.01; set it to {HIGHEST_RATE:g} or less (1e-6 is usual)"
        )

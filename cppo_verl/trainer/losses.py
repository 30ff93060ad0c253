"""What verl 0.9.1's policy losses need that its trainers do not give them.

- `geo_mean` is a mean over the rows of a micro-batch. Of a mini-batch in several micro-batches, or of fewer rows on a
  rank, the gradients would add up to several times the mean. Here it is divided as verl's other losses are, by the
  completions of the mini-batch.
- `bypass_mode` reads `algorithm.rollout_correction` from the options of the loss, which verl's V0 trainer writes there
  when the workers have their copy already, and V1's never.
- `loss_agg_mode=seq-mean-token-sum-norm` divides by `loss_scale_factor`, and without one by the padded width, which on
  V1 is the longest completion of each micro-batch; on V0, and by verl's description, `data.max_response_length`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict

from cppo_verl.preflight.correction import BYPASS, CORRECTION

if TYPE_CHECKING:
    import torch
    from verl.workers.config import ActorConfig

WHOLE = "whole_"
"""Of the name under which `geo_mean` is registered once more."""
NORM = "seq-mean-token-sum-norm"


def register_losses() -> None:
    """Register `whole_geo_mean`."""
    from verl.trainer.ppo.core_algos import register_policy_loss  # which calls this when imported

    register_policy_loss(f"{WHOLE}geo_mean")(whole_geo_mean)


def whole_geo_mean(
    old_log_prob: torch.Tensor, *args, config: ActorConfig, **kwargs
) -> tuple[torch.Tensor, dict[str, Any]]:
    """verl's `geo_mean` (arXiv 2507.20673), as a part of the mean over a mini-batch's completions.

    Args:
        old_log_prob: `(num_rows, response_width)`, of a micro-batch.
        args: The loss's.
        config: Whose `global_batch_info` has the rows of the mini-batch over all ranks, and the ranks.
        kwargs: The loss's.
    """
    from verl.trainer.ppo.core_algos import compute_policy_loss_geo_mean

    mean, metrics = compute_policy_loss_geo_mean(old_log_prob, *args, config=config, **kwargs)
    whole = config.global_batch_info
    return mean * (len(old_log_prob) * whole["dp_size"] / whole["global_batch_size"]), metrics


def set_loss_options(config: DictConfig) -> None:
    """Give a run's workers what their loss needs, in place."""
    actor = config.actor_rollout_ref.actor
    if actor.get("loss_agg_mode") == NORM and actor.get("loss_scale_factor") is None:
        actor.loss_scale_factor = config.data.max_response_length
    with open_dict(actor.policy_loss):
        if actor.policy_loss.loss_mode == "geo_mean":
            actor.policy_loss.loss_mode = f"{WHOLE}geo_mean"
        if actor.policy_loss.loss_mode == BYPASS:
            actor.policy_loss.rollout_correction = OmegaConf.select(config, CORRECTION)

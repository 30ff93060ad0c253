"""What the rollout correction leaves of the kept completions, and whether that is enough for an update."""

from __future__ import annotations

import torch
from omegaconf import DictConfig

from cppo_verl.algorithm.rejection import LEFT_OUT, can_update, rejection_counts
from cppo_verl.preflight.correction import rejects
from cppo_verl.runs.notices import notice


def rejection(
    before: torch.Tensor, after: torch.Tensor, mini_batch_rows: int, dp_size: int, config: DictConfig
) -> dict[str, int]:
    """Metrics of what was rejected; empty where the config rejects nothing.

    Args:
        before: Response mask of the kept completions, `(num_rows, width)`, in the order in which workers get them.
        after: The same, without what is rejected.
        mini_batch_rows: Rows of a mini-batch, over all ranks.
        dp_size: Ranks.
        config: The run's.
    """
    if not rejects(config):
        return {}
    by_token = config.actor_rollout_ref.actor.loss_agg_mode == "token-mean"
    is_enough = can_update(after, mini_batch_rows, dp_size, mean_over_tokens=by_token)
    if not is_enough:
        where = " in one of the mini-batches" if after.any() else ""
        notice(f"rollout_rs has rejected every token{where}: nothing is updated with these completions")
    return rejection_counts(before, after) | {LEFT_OUT: int(not is_enough)}

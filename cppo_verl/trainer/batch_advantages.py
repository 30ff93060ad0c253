"""Advantage estimators of which a part is of the whole batch: REINFORCE++ with a baseline, and GPG.

Both compare a completion's reward with its question's mean, r - mean(r), which is known when the question is finished:
CPPO prunes by it. What verl 0.9.1 does over the whole batch is done when all of a step (on V1, of a cycle) is sampled,
over all of it, pruned or not. Without pruning the advantages are verl's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from omegaconf import DictConfig
from tensordict import TensorDict
from verl import DataProto
from verl.utils.torch_functional import masked_whiten

from cppo_verl.preflight.verl_options import OVER_THE_BATCH


def estimator_of_questions(config: DictConfig) -> tuple[str, bool]:
    """verl's estimator of the part that is a question's, and whether it divides by the standard deviation."""
    algorithm = config.algorithm
    if algorithm.adv_estimator in OVER_THE_BATCH:
        return "grpo", False
    return algorithm.adv_estimator, algorithm.norm_adv_by_std_in_grpo


def finish_advantages(sampled: DataProto, config: DictConfig) -> None:
    """Take the advantages of all completions of a step by the scale of the batch, in place, where its estimator does.

    Args:
        sampled: All of them, with their advantages of their questions alone, `(num_rows, width)`.
        config: The run's.
    """
    if part := PARTS.get(config.algorithm.adv_estimator):
        batch = sampled.batch
        tokens = batch["advantages"]
        # On V1 rows come in the order in which they were finished: in float64 the sums do not tell.
        batch["advantages"] = batch["returns"] = part(tokens.double(), batch).to(tokens.dtype)


def _whitened(advantages: torch.Tensor, batch: TensorDict) -> torch.Tensor:
    """Mean 0 and variance 1 over the response tokens (arXiv 2501.03262)."""
    mask = batch["response_mask"]
    return masked_whiten(advantages, mask) * mask


def _scaled(advantages: torch.Tensor, batch: TensorDict) -> torch.Tensor:
    """By how many completions there are for each whose reward is not 0 (arXiv 2504.02546)."""
    rewards = batch["token_level_rewards"].sum(dim=-1)
    return advantages * (len(rewards) / torch.count_nonzero(rewards).clamp(min=1))


PARTS: dict[str, Callable[..., torch.Tensor]] = {"reinforce_plus_plus_baseline": _whitened, "gpg": _scaled}

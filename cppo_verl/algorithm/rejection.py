"""What a completion counts for that is kept, and then rejected by the rollout correction (`rollout_rs`).

A completion is rejected by its old log-probs, which only kept ones have: by then the step is sampled and pruned. So it
counts in k, and no other takes its place. It counts in the divisor of a mean over completions, so that the others'
gradient is what it would have been. Only a mean over tokens is one over those that are left.
"""

from __future__ import annotations

import torch

LEFT_OUT = "cppo/rejected/updates"
"""1 where a step, or a cycle of one, makes no update, because too little is left; else 0."""


def rejection_counts(before: torch.Tensor, after: torch.Tensor) -> dict[str, int]:
    """How much of what is kept is left out of the loss.

    Args:
        before: Response mask of the kept completions, `(num_rows, width)`.
        after: The same with 0 where a token is rejected.

    Returns:
        `cppo/rejected/completions`, of which no token is left, and `cppo/rejected/tokens`, of any completion.
    """
    gone = (before.sum(dim=1) > 0) & (after.sum(dim=1) == 0)
    return {
        "cppo/rejected/completions": int(gone.sum()),
        "cppo/rejected/tokens": int(before.sum() - after.sum()),
    }


def can_update(mask: torch.Tensor, mini_batch_rows: int, dp_size: int, *, mean_over_tokens: bool) -> bool:
    """Whether there is something left to train on.

    Without any token an update would be the optimiser's momentum and weight decay alone; and the mean over the tokens
    of a mini-batch that has none is no number.

    Args:
        mask: Response mask of the rows, `(num_rows, width)`, in the order in which they are split over the ranks, each
            of which cuts its part into mini-batches.
        mini_batch_rows: Rows of a mini-batch, over all ranks.
        dp_size: Ranks.
        mean_over_tokens: The loss is a mean over the tokens of a mini-batch.
    """
    has_tokens = mask.sum(dim=1) > 0
    if not mean_over_tokens:
        return bool(has_tokens.any())
    of_mini_batches = has_tokens.reshape(dp_size, -1, mini_batch_rows // dp_size).any(dim=2).any(dim=0)
    return bool(len(has_tokens)) and bool(of_mini_batches.all())

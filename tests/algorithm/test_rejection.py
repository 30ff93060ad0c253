"""What is left of the kept completions decides over an update; what is not is counted."""

import pytest
import torch

from cppo_verl.algorithm.rejection import can_update, rejection_counts

BEFORE = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]])


def test_rejected_completions_and_tokens_are_counted():
    after = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 0, 0], [1, 1, 1]])
    assert rejection_counts(BEFORE, after) == {"cppo/rejected/completions": 2, "cppo/rejected/tokens": 4}
    assert rejection_counts(BEFORE, BEFORE) == {"cppo/rejected/completions": 0, "cppo/rejected/tokens": 0}


@pytest.mark.parametrize(
    ("rows_left", "ranks", "of_completions", "of_tokens"),
    [
        ([1, 1, 1, 1, 1, 1, 1, 1], 1, True, True),
        ([0, 0, 0, 0, 0, 0, 0, 0], 1, False, False),
        ([1, 0, 0, 0, 0, 0, 1, 0], 1, True, True),
        ([1, 1, 1, 1, 0, 0, 0, 0], 1, True, False),  # nothing of the second mini-batch
        ([1, 1, 1, 1, 0, 0, 0, 0], 2, True, True),  # of which the first rank has a half
        ([1, 0, 0, 0, 0, 1, 0, 0], 2, True, False),  # both in the first halves of the ranks' rows
        ([], 1, False, False),
    ],
)
def test_what_is_enough_for_an_update(rows_left, ranks, of_completions, of_tokens):
    """8 rows in mini-batches of 4."""
    mask = torch.tensor(rows_left).reshape(-1, 1).expand(-1, 3)
    assert can_update(mask, 4, ranks, mean_over_tokens=False) == of_completions
    assert can_update(mask, 4, ranks, mean_over_tokens=True) == of_tokens

"""A question that is taken has G completions."""

from __future__ import annotations

import pytest

from cppo_verl.trainer.v1.queue import QuestionQueue


def checked(*keys: str) -> None:
    queue = object.__new__(QuestionQueue)
    queue.rollout_n = 2
    queue._check_groups(["1:0", "1:1"], list(keys))


def test_g_completions_each_are_taken():
    checked("1:0_0_0", "1:1_0_0", "1:0_1_0", "1:1_1_0")


def test_several_outputs_are_one_completion():
    """And refused where they are read."""
    checked("1:0_0_0", "1:0_0_1", "1:0_1_0", "1:1_0_0", "1:1_1_0")


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (("1:0_0_0", "1:0_1_0", "1:1_0_0"), "question 1:1 has 1 completions"),
        (("1:0_0_0", "1:0_1_0"), "question 1:1 has 0 completions"),
        (("1:0_0_0", "1:0_1_0", "1:1_0_0", "1:1_1_0", "1:1_2_0"), "question 1:1 has 3 completions"),
        ((), "question 1:0 has 0 completions, not G = 2 .*, and so have 1 more"),
    ],
)
def test_another_number_ends_the_run(keys, found):
    with pytest.raises(ValueError, match=found):
        checked(*keys)

"""A sample of the corpus of hostile completions (scripts/hostile_rewards.py scores all of it)."""

from __future__ import annotations

import pytest
from hostile import FAMILIES, GOLD, draw

from cppo_verl.rewards import gsm8k, gsm8k_hash, math, math_boxed, olympiad

REWARDS = (gsm8k, gsm8k_hash, math, math_boxed, olympiad)


@pytest.mark.parametrize("reward", REWARDS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_hostile_completions_are_scored_and_worth_nothing(reward):
    limit = {} if reward in (gsm8k, gsm8k_hash) else {"timeout": 0.5}
    for hostile in draw(3 * len(FAMILIES), seed=1):
        found = reward.compute_score("", hostile.text, GOLD, {}, **limit)
        assert found["acc"] == 0, hostile.family
        assert 0 <= found["score"] <= 1, "the format's, at the most"


def test_no_completion_is_drawn_twice():
    count = 100 * len(FAMILIES)
    assert len({hostile.text for hostile in draw(count)}) == count


def test_the_corpus_can_be_drawn_again():
    assert list(draw(100, seed=3)) == list(draw(100, seed=3)) != list(draw(100, seed=4))

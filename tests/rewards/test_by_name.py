"""Rewards by name, for a trainer of one's own."""

import pickle

import pytest

from cppo_verl import REWARDS, reward


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_can_be_sent_to_another_process(name):
    assert pickle.loads(pickle.dumps(reward(name)))("", "nothing", "5")["score"] == 0


def test_an_unknown_name_says_which_there_are():
    with pytest.raises(KeyError, match="gsm8k, gsm8k_hash"):
        reward("gsm9k")

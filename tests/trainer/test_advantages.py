"""verl's advantage estimators: those that CPPO takes are of a question's rewards alone, and the others are named."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from verl import DataProto
from verl.trainer.ppo.core_algos import AdvantageEstimator

from cppo_verl.preflight.critic import GAE
from cppo_verl.preflight.verl_options import NEEDS_MORE, OUTCOME_ESTIMATORS
from cppo_verl.trainer.stages import outcome_advantages

GROUP, WIDTH = 4, 6


def scored(rewards: list[float], lengths: list[int]) -> DataProto:
    """Completions, of `GROUP` a question, with their reward at the last token."""
    mask = (torch.arange(WIDTH) < torch.tensor(lengths)[:, None]).long()
    scores = torch.nn.functional.one_hot(torch.tensor(lengths) - 1, WIDTH) * torch.tensor(rewards)[:, None]
    uids = np.array([f"1:{row // GROUP}" for row in range(len(rewards))], dtype=object)
    return DataProto.from_dict({"response_mask": mask, "token_level_rewards": scores}, non_tensors={"uid": uids})


def advantages(estimator: str, rewards: list[float], lengths: list[int]) -> torch.Tensor:
    config = OmegaConf.create(
        {
            "algorithm": {"adv_estimator": estimator, "norm_adv_by_std_in_grpo": True},
            "actor_rollout_ref": {"rollout": {"n": GROUP}},
        }
    )
    return outcome_advantages(scored(rewards, lengths), config).batch["advantages"]


@pytest.mark.parametrize("estimator", OUTCOME_ESTIMATORS)
def test_an_estimator_that_is_taken_gives_a_completion_one_advantage_of_its_question_alone(estimator):
    rewards, lengths = [1.0, 0.0, 3.0, 0.0], [2, 6, 4, 1]
    alone = advantages(estimator, rewards, lengths)
    beside = advantages(estimator, [*rewards, 9.0, -7.0, 0.0, 1.0], [*lengths, 1, 2, 3, 4])
    assert torch.equal(alone, beside[:GROUP])
    for row, length in zip(alone, lengths, strict=True):
        assert (row[:length] == row[0]).all() and (row[length:] == 0).all()
    assert alone[2, 0] > 0 and alone.abs().sum() > 0


@pytest.mark.parametrize("estimator", OUTCOME_ESTIMATORS)
def test_equal_rewards_give_equal_advantages(estimator):
    """By which questions of zero variance are known."""
    flat = advantages(estimator, [0.7] * GROUP, [2, 6, 4, 1])[:, 0]
    assert (flat == flat[0]).all()


def test_each_of_verls_estimators_is_taken_or_refused_with_its_reason():
    verls = {estimator.value for estimator in AdvantageEstimator}
    assert verls == {*OUTCOME_ESTIMATORS, *NEEDS_MORE, GAE}

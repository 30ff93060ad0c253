"""verl's advantage estimators: those that CPPO takes are of a question's rewards alone, and the others are named."""

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from verl import DataProto
from verl.trainer.ppo.core_algos import AdvantageEstimator
from verl.trainer.ppo.ray_trainer import compute_advantage

from cppo_verl.preflight.critic import GAE
from cppo_verl.preflight.verl_options import NEEDS_MORE, OUTCOME_ESTIMATORS, OVER_THE_BATCH
from cppo_verl.trainer.batch_advantages import PARTS, finish_advantages
from cppo_verl.trainer.stages import outcome_advantages

GROUP, WIDTH = 4, 6


def scored(rewards: list[float], lengths: list[int]) -> DataProto:
    """Completions, of `GROUP` a question, with their reward at the last token."""
    mask = (torch.arange(WIDTH) < torch.tensor(lengths)[:, None]).long()
    scores = torch.nn.functional.one_hot(torch.tensor(lengths) - 1, WIDTH) * torch.tensor(rewards)[:, None]
    uids = np.array([f"1:{row // GROUP}" for row in range(len(rewards))], dtype=object)
    return DataProto.from_dict({"response_mask": mask, "token_level_rewards": scores}, non_tensors={"uid": uids})


def config_of(estimator: str) -> DictConfig:
    return OmegaConf.create(
        {
            "algorithm": {"adv_estimator": estimator, "norm_adv_by_std_in_grpo": True},
            "actor_rollout_ref": {"rollout": {"n": GROUP}},
        }
    )


def advantages(estimator: str, rewards: list[float], lengths: list[int]) -> torch.Tensor:
    return outcome_advantages(scored(rewards, lengths), config_of(estimator)).batch["advantages"]


@pytest.mark.parametrize("estimator", [*OUTCOME_ESTIMATORS, *OVER_THE_BATCH])
def test_an_estimator_that_is_taken_gives_a_completion_one_advantage_of_its_question_alone(estimator):
    rewards, lengths = [1.0, 0.0, 3.0, 0.0], [2, 6, 4, 1]
    alone = advantages(estimator, rewards, lengths)
    beside = advantages(estimator, [*rewards, 9.0, -7.0, 0.0, 1.0], [*lengths, 1, 2, 3, 4])
    assert torch.equal(alone, beside[:GROUP])
    for row, length in zip(alone, lengths, strict=True):
        assert (row[:length] == row[0]).all() and (row[length:] == 0).all()
    assert alone[2, 0] > 0 and alone.abs().sum() > 0


@pytest.mark.parametrize("estimator", [*OUTCOME_ESTIMATORS, *OVER_THE_BATCH])
def test_equal_rewards_give_equal_advantages(estimator):
    """By which questions of zero variance are known."""
    flat = advantages(estimator, [0.7] * GROUP, [2, 6, 4, 1])[:, 0]
    assert (flat == flat[0]).all()


def test_each_of_verls_estimators_is_taken_or_refused_with_its_reason():
    verls = {estimator.value for estimator in AdvantageEstimator}
    assert verls == {*OUTCOME_ESTIMATORS, *OVER_THE_BATCH, *NEEDS_MORE, GAE}


def test_each_part_over_the_batch_is_made_up_for():
    assert set(OVER_THE_BATCH) == set(PARTS)


@pytest.mark.parametrize("estimator", OVER_THE_BATCH)
def test_a_part_over_the_batch_comes_when_all_is_sampled(estimator):
    """Question by question and then over all, an advantage is verl's over all at once; pruned by is the question's."""
    rewards, lengths = [1.0, 0.0, 3.0, 0.0, 0.0, 7.0, 0.0, 1.0], [2, 6, 4, 1, 1, 2, 3, 4]
    config = config_of(estimator)
    verls = compute_advantage(
        scored(rewards, lengths), adv_estimator=estimator, num_repeat=GROUP, config=config.algorithm
    )
    parts = [
        outcome_advantages(scored(rewards, lengths).select_idxs(np.arange(start, start + GROUP)), config)
        for start in (0, GROUP)
    ]
    together = DataProto.concat(parts)
    assert together.batch["advantages"][:, 0].tolist() == [0.0, -1.0, 2.0, -1.0, -2.0, 5.0, -2.0, -1.0]
    finish_advantages(together, config)
    for column in ("advantages", "returns"):
        assert torch.allclose(together.batch[column], verls.batch[column], atol=1e-6)
    assert together.batch["advantages"].dtype == torch.float32


def test_other_estimators_have_no_part_over_the_batch():
    config = config_of("rloo")
    batch = outcome_advantages(scored([1.0, 0.0, 3.0, 0.0], [2, 6, 4, 1]), config)
    before = batch.batch["advantages"].clone()
    finish_advantages(batch, config)
    assert torch.equal(batch.batch["advantages"], before)

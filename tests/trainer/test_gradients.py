"""Which of verl's estimators, losses and corrections go together with pruning: the gradient of a step of each is, to
float64's precision, that of its formula by hand on the completions that are kept, whatever the micro-batches.
"""

from __future__ import annotations

from itertools import pairwise

import by_hand
import pytest
import torch
from pruned_step import MICRO, MINI, QUESTIONS, REWARDS, WIDTH, K, Step

from cppo_verl.algorithm.rejection import LEFT_OUT
from cppo_verl.preflight.choices import CHOICES
from cppo_verl.preflight.correction import REJECTIONS
from cppo_verl.preflight.verl_options import OUTCOME_ESTIMATORS, OVER_THE_BATCH
from cppo_verl.trainer.stages import update_settings

LOSSES = [loss for loss in CHOICES["actor_rollout_ref.actor.policy_loss.loss_mode"] if loss != "bypass_mode"]
AGGREGATIONS = CHOICES["actor_rollout_ref.actor.loss_agg_mode"]


def assert_is_by_hand(
    step: Step, loss: str = "vanilla", aggregation: str = "seq-mean-token-mean", ragged: bool = False
) -> None:
    """Each mini-batch's gradient, and that the step has pruned half."""
    assert len(step.kept) == len(REWARDS) // 2 and step.allocation.mini_batch_rows == MINI * K
    micro = [list(range(first, last)) for first, last in pairwise(MICRO)]
    for mini in range(QUESTIONS // MINI):
        rows = step.rows(mini)
        shares = by_hand.shares(aggregation, rows, MINI * K, WIDTH)
        slopes = by_hand.slopes(loss, rows, micro)
        expected = torch.tensor([[s * share for s in row] for row, share in zip(slopes, shares, strict=True)])
        found = step.gradients(mini, ragged).log_probs
        assert torch.allclose(found, expected.double(), rtol=1e-6, atol=1e-9), f"mini-batch {mini}"
        assert expected.abs().sum() > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss(loss):
    assert_is_by_hand(Step(policy_loss={"loss_mode": loss}), loss)


@pytest.mark.parametrize("loss", ["vanilla", "geo_mean"])
def test_the_mean_over_two_ranks(loss):
    """That FSDP takes of their gradients, of which each is of a part of the mini-batch."""
    step, alone = (Step(policy_loss={"loss_mode": loss}, dp_size=ranks) for ranks in (2, 1))
    assert torch.allclose(step.gradients(0).log_probs, alone.gradients(0).log_probs, rtol=1e-12)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_each_aggregation(aggregation, ragged):
    """As V0 and as V1 hand the rows to their workers."""
    assert_is_by_hand(Step(loss_agg_mode=aggregation), aggregation=aggregation, ragged=ragged)


@pytest.mark.parametrize("estimator", [*OUTCOME_ESTIMATORS, *OVER_THE_BATCH])
def test_each_estimator(estimator):
    assert_is_by_hand(Step({"adv_estimator": estimator}))


def test_dr_grpo():
    dr_grpo = {"norm_adv_by_std_in_grpo": False}
    assert_is_by_hand(Step(dr_grpo, loss_agg_mode="seq-mean-token-sum-norm"), aggregation="seq-mean-token-sum-norm")


@pytest.mark.parametrize("loss", ["vanilla", "gspo", "sapo", "cispo", "geo_mean"])
def test_weights_of_the_drawing(loss):
    """`metric=unbiased`: the advantages are those of all G, times a weight each."""
    step = Step(policy_loss={"loss_mode": loss}, cppo={"metric": "unbiased"})
    assert (step.allocation.weights != 1).any()
    assert_is_by_hand(step, loss)


def test_the_entropy_bonus():
    step = Step(entropy_coeff=0.25)
    assert update_settings(step.config, 4)["calculate_entropy"]
    assert_is_by_hand(step)
    for mini in range(QUESTIONS // MINI):
        rows = step.rows(mini)
        shares = by_hand.shares("seq-mean-token-mean", rows, MINI * K, WIDTH)
        expected = [[-0.25 * share * c for c in row.counts] for row, share in zip(rows, shares, strict=True)]
        assert torch.allclose(step.gradients(mini).entropies, torch.tensor(expected).double(), rtol=1e-7)


@pytest.mark.parametrize("limit", [1.1, "0.7_1.2"])
@pytest.mark.parametrize("weights", ["token", "sequence"])
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "geo_mean"])
def test_importance_weights(weights, loss, limit):
    """pi_old / pi_rollout, of a token or of a whole completion: at most 1.1, or 0 outside of a range."""
    correction = {"rollout_is": weights, "rollout_is_threshold": limit}
    step = Step({"correction": correction}, policy_loss={"loss_mode": loss})
    batch = step.kept.batch
    difference = log_ratio(step)
    ratio = difference.exp() if weights == "token" else difference.sum(dim=1, keepdim=True).exp()
    ratio = ratio.expand_as(difference)
    expected = ratio.clamp(max=1.1) if limit == 1.1 else ratio * ((ratio >= 0.7) & (ratio <= 1.2))
    assert torch.allclose(batch["rollout_is_weights"], expected * batch["response_mask"])
    assert (ratio > (1.1 if limit == 1.1 else 1.2)).any() and "cppo/rejected/tokens" not in step.metrics
    assert_is_by_hand(step, loss)


LIMITS = {
    "token_k1": "0.93_1.07",
    "token_k2": 0.015,
    "token_k3": 0.015,
    "seq_sum_k1": "0.8_1.25",
    "seq_sum_k2": 0.03,
    "seq_sum_k3": 0.03,
    "seq_mean_k1": "0.9_1.03",
    "seq_mean_k2": 0.009,
    "seq_mean_k3": 0.008,
    "seq_max_k2": 0.017,
    "seq_max_k3": 0.021,
    "token_k1,seq_max_k2": "0.86_1.16,0.025",
}
"""Of each word of `rollout_rs`, and of two at once: a threshold that rejects some."""


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("words", LIMITS)
def test_rejection_and_veto(words, aggregation):
    """What is left is as by hand, and so is its gradient, which is what it would be without the others; only a mean
    over tokens is one over those that are left."""
    assert LIMITS.keys() >= set(REJECTIONS)
    correction = {"rollout_rs": words, "rollout_rs_threshold": LIMITS[words]}
    step = Step({"correction": correction}, loss_agg_mode=aggregation)
    left, before = step.kept.batch["response_mask"], step.sampled.batch["response_mask"][step.allocation.rows]
    expected = before.bool()
    for word, limit in zip(words.split(","), str(LIMITS[words]).split(","), strict=True):
        expected = expected & passes(word, limit, log_ratio(step, before), before)
    assert torch.equal(left.bool(), expected) and 0 < left.sum() < before.sum()
    assert step.metrics["cppo/rejected/tokens"] == int(before.sum() - left.sum())
    assert step.metrics["cppo/rejected/completions"] == int((left.sum(dim=1) == 0).sum())
    assert step.metrics[LEFT_OUT] == 0
    assert_is_by_hand(step, aggregation=aggregation)


def log_ratio(step: Step, mask: torch.Tensor | None = None) -> torch.Tensor:
    """log pi_old - log pi_rollout of the kept rows' tokens, 0 elsewhere."""
    batch = step.kept.batch
    mask = batch["response_mask"] if mask is None else mask
    return (batch["old_log_probs"] - batch["rollout_log_probs"]) * mask


def passes(word: str, limit: str, difference: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Which tokens a word of `rollout_rs` keeps: by an estimate of the divergence, of a token or over a completion."""
    over, *how, estimate = word.split("_")
    value = {"k1": -difference, "k2": difference**2 / 2, "k3": difference.exp() - 1 - difference}[estimate]
    if over == "seq":
        total = value.sum(dim=1, keepdim=True)
        over_it = {"sum": total, "mean": total / mask.sum(dim=1, keepdim=True), "max": value.amax(dim=1, keepdim=True)}
        value = over_it[how[0]].expand_as(mask)
    if estimate != "k1":
        return value <= float(limit)
    low, high = map(float, limit.split("_"))
    return (value.exp() >= low) & (value.exp() <= high)


def test_rejection_by_the_loss_itself_and_its_weights():
    """`bypass_mode`: the old log-probs are the rollout's, and the loss compares with the policy as it is."""
    correction = {"bypass_mode": True, "loss_type": "reinforce", "rollout_is": "token", "rollout_rs": "token_k1"}
    correction |= {"rollout_rs_threshold": "0.7_1.4", "rollout_is_threshold": 1.2}
    step = Step({"correction": correction}, policy_loss={"loss_mode": "bypass_mode"}, loss_agg_mode="token-mean")
    batch = step.kept.batch
    batch["old_log_probs"] = batch["rollout_log_probs"]
    whole = batch["response_mask"].double()
    ratio = (batch["new"] - batch["rollout_log_probs"]).exp()
    left = whole * ((1 / ratio >= 0.7) & (1 / ratio <= 1.4))
    assert 0 < left.sum() < whole.sum()
    for mini in range(QUESTIONS // MINI):
        rows = slice(mini * MINI * K, (mini + 1) * MINI * K)
        advantage = torch.tensor([row.advantage for row in step.rows(mini)])[:, None]
        expected = -advantage * (ratio.clamp(max=1.2) * left)[rows] / whole[rows].sum()
        assert torch.allclose(step.gradients(mini).log_probs, expected, rtol=1e-6, atol=1e-9)

"""What of `algorithm.rollout_correction` and of losses verl would refuse at the first step, or leave out."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from verl.trainer.config.algorithm import RolloutCorrectionConfig
from verl.trainer.ppo.rollout_corr_helper import SUPPORTED_ROLLOUT_RS_OPTIONS, compute_rollout_rejection_mask

from cppo_verl.preflight.correction import KNOWN, REJECTIONS, WEIGHTS
from cppo_verl.preflight.refusals import refusals

CORRECTION = "algorithm.rollout_correction"
ACTOR = "actor_rollout_ref.actor"
NOT_KEPT = "actor_rollout_ref.rollout.calculate_log_probs=false"
V1 = "trainer.use_v1=true"
BYPASS = f"{CORRECTION}.bypass_mode=true"
BY_LOSS = f"{ACTOR}.policy_loss.loss_mode=bypass_mode"
REINFORCE = f"{CORRECTION}.loss_type=reinforce"


def rejecting(words: str, limit: str) -> list[str]:
    """Overrides; the words in Hydra's quotes."""
    return [f"{CORRECTION}.rollout_rs='{words}'", f"{CORRECTION}.rollout_rs_threshold={limit}"]


def weighing(kind: str, limit: str = "2.0") -> list[str]:
    return [f"{CORRECTION}.rollout_is={kind}", f"{CORRECTION}.rollout_is_threshold={limit}"]


def test_the_words_are_verls():
    assert {field.name for field in fields(RolloutCorrectionConfig)} | {"_target_"} == set(KNOWN)
    assert set(REJECTIONS) == SUPPORTED_ROLLOUT_RS_OPTIONS
    assert WEIGHTS == ("token", "sequence")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (rejecting("tokn_k1", "2.0"), "rollout_rs='tokn_k1' is not one of token_k1"),
        (rejecting("tokn_k1", "2.0"), "did you mean token_k1?"),
        (rejecting("token_k1,seq_k3", "2.0"), "rollout_rs='seq_k3' is not one of"),
        (rejecting("", "null"), "rollout_rs='' must be null, or one or more of token_k1"),
        ([f"{CORRECTION}.rollout_rs=token_k1"], "needs algorithm.rollout_correction.rollout_rs_threshold"),
        ([f"{CORRECTION}.rollout_rs_threshold=2"], "rollout_rs_threshold=2 would be ignored"),
        (rejecting("token_k1,seq_max_k2,token_k3", "'2.0,1.0'"), "has 2 thresholds for 3 words"),
        (rejecting("token_k1", "0.5"), "0.5 of token_k1 must be the largest ratio, from 1, or a range of ratios"),
        (rejecting("token_k1", "0.5_2"), "0.5_2 without them is the number 0.52"),
        (rejecting("token_k1", "'2.0_0.5'"), "2.0_0.5 of token_k1 must be"),
        (rejecting("seq_max_k2", "'0.5_2.0'"), "0.5_2.0 of seq_max_k2 must be a number above 0"),
        (rejecting("seq_max_k2", "0"), "0 of seq_max_k2 must be a number above 0"),
        (weighing("tokens"), "rollout_is='tokens' is not one of token, sequence; did you mean token?"),
        (weighing("token", "null"), "rollout_is_threshold=None must be the largest weight, from 1"),
        (weighing("token", "0.5_2"), "0.5_2 without them is the number 0.52"),
        (weighing("token", "two"), "rollout_is_threshold=two must be"),
        ([f"{CORRECTION}.bypass_mode=yes_please"], "bypass_mode='yes_please' must be true or false"),
        ([f"{CORRECTION}.loss_type=ppo"], "loss_type='ppo' is not one of ppo_clip, reinforce"),
        ([f"+{CORRECTION}.rollout_token_veto_threshold=1e-4"], "a veto is rollout_rs=seq_max_k2 or seq_max_k3"),
        ([f"+{CORRECTION}.rolout_is=token"], "rolout_is is no option of verl 0.9.1's; did you mean rollout_is?"),
        ([REINFORCE], "loss_type=reinforce would be ignored: it is for"),
        ([BY_LOSS], "takes the old log-probs for the rollout's"),
        ([BYPASS, REINFORCE], "the loss vanilla does not read it"),
        ([BYPASS, *rejecting("token_k1", "2.0")], "rollout_rs=token_k1 with algorithm.rollout_correction.bypass_mode"),
        ([V1, BYPASS, *rejecting("token_k1", "2.0")], "the loss vanilla does not read it"),
        ([BYPASS, BY_LOSS, *weighing("token")], "the clipped ratio is the weight; set it to null"),
        ([NOT_KEPT, *weighing("token")], "rollout_is=token: the rollout's log-probs, which this reads, are not kept"),
        ([NOT_KEPT, *rejecting("token_k1", "2.0")], "set actor_rollout_ref.rollout.calculate_log_probs=true"),
        ([NOT_KEPT, BYPASS], "bypass_mode=true: the rollout's log-probs"),
        ([V1, NOT_KEPT, *weighing("token")], "rollout_is=token: the rollout's log-probs"),
        ([f"{ACTOR}.policy_loss.loss_mode=kl_cov", *rejecting("token_k1", "2.0")], "a micro-batch has no token left"),
        (
            [f"{ACTOR}.loss_agg_mode=token-mean", f"{ACTOR}.shuffle=true", *rejecting("token_k1", "2.0")],
            "would have a mean over nothing",
        ),
        ([f"{ACTOR}.policy_loss.loss_mode=dro"], "loss_mode=dro needs actor_rollout_ref.actor.policy_loss.dro_beta"),
        (
            [f"{ACTOR}.policy_loss.loss_mode=sapo", f"{ACTOR}.loss_agg_mode=token-mean"],
            "only the KL term would be aggregated so; set it to seq-mean-token-mean",
        ),
        (
            [f"{ACTOR}.policy_loss.loss_mode=geo_mean", f"{ACTOR}.loss_agg_mode=token-sum"],
            "loss_agg_mode=token-sum with actor_rollout_ref.actor.policy_loss.loss_mode=geo_mean",
        ),
        (
            ["algorithm.adv_estimator=grpo_passk", "actor_rollout_ref.rollout.n=1"],
            "actor_rollout_ref.rollout.n=1 must be 2 or more",
        ),
        (
            [f"{ACTOR}.optim.lr=1e4"],
            "actor.optim.lr=10000: AdamW moves every weight by about so much",
        ),
    ],
)
def test_refusals(config, overrides, says):
    (message,) = refusals(config("recipe=gsm8k", *overrides))
    assert says in message


@pytest.mark.parametrize(
    "overrides",
    [
        rejecting("token_k1", "'0.5_2.0'"),
        rejecting("token_k1,seq_max_k2", "'2.0,0.1'"),
        rejecting("token_k2, seq_mean_k3", "0.1"),
        [V1, *rejecting("seq_sum_k1", "3")],
        [*weighing("sequence", "'0.5_2.0'"), f"{CORRECTION}.rollout_is_batch_normalize=true"],
        [BYPASS],
        [BYPASS, BY_LOSS, *rejecting("token_k1", "2.0")],
        [V1, BYPASS, BY_LOSS, REINFORCE, *weighing("token")],
        [f"{CORRECTION}=null"],
        [f"{ACTOR}.policy_loss.loss_mode=dro", f"{ACTOR}.policy_loss.dro_beta=0.1"],
        [f"{ACTOR}.policy_loss.loss_mode=kl_cov"],
        *([f"{ACTOR}.policy_loss.loss_mode={loss}"] for loss in ("sapo", "geo_mean", "gspo", "cispo", "clip_cov")),
        *([f"algorithm.adv_estimator={name}"] for name in ("opo", "gpg", "reinforce_plus_plus_baseline", "grpo_passk")),
        [f"{ACTOR}.optim.lr=1e4", f"{ACTOR}.optim.optimizer=SGD"],
    ],
)
def test_what_works_is_not_refused(config, overrides):
    assert refusals(config("recipe=gsm8k", *overrides)) == []


@pytest.mark.parametrize(
    ("words", "limit"),
    [("token_k1", "0.5_2.0"), ("token_k1", 2.0), ("token_k1,seq_max_k2", "2.0,0.1"), ("token_k2, seq_mean_k3", 0.1)],
)
def test_verl_takes_what_is_not_refused(words, limit):
    mask = torch.ones(2, 3)
    left, _ = compute_rollout_rejection_mask(torch.zeros(2, 3), mask, words, limit)
    assert torch.equal(left, mask)

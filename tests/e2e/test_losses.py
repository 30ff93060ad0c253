"""Losses, estimators and corrections on the real stack, where workers must be told of them."""

from __future__ import annotations

import math

import pytest
from recorded import read_metrics

POLICY = "actor_rollout_ref.actor.policy_loss"
CORRECTION = "algorithm.rollout_correction"
KEPT = "actor_rollout_ref.rollout.calculate_log_probs=true"
CASES = {
    "geo_mean": (f"{POLICY}.loss_mode=geo_mean",),
    "kl_cov": (f"{POLICY}.loss_mode=kl_cov",),
    "dr_grpo": (
        "algorithm.norm_adv_by_std_in_grpo=false",
        "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-sum-norm",
    ),
    "reinforce_plus_plus_baseline": ("algorithm.adv_estimator=reinforce_plus_plus_baseline",),
    "rejection": (
        KEPT,
        "actor_rollout_ref.rollout.dtype=bfloat16",  # in float32 the engine's log-probs are the trainer's to 1e-6
        f"{CORRECTION}.rollout_rs='token_k1,seq_max_k2'",
        f"{CORRECTION}.rollout_rs_threshold='1.001,10.0'",
        "actor_rollout_ref.actor.loss_agg_mode=token-mean",
    ),
    "by the loss": (
        KEPT,
        f"{CORRECTION}.bypass_mode=true",
        f"{CORRECTION}.loss_type=reinforce",
        f"{CORRECTION}.rollout_is=token",
        f"{CORRECTION}.rollout_rs=token_k1",
        f"{CORRECTION}.rollout_rs_threshold=2.0",
        f"{POLICY}.loss_mode=bypass_mode",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("v1", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_two_steps(case, v1, train):
    run = train("run", f"trainer.use_v1={v1}", "cppo.pruning_rate=0.5", "trainer.total_training_steps=2", *CASES[case])
    steps = read_metrics(run.folder)
    for step in (1, 2):
        assert math.isfinite(steps[step]["actor/pg_loss"]) and steps[step]["actor/grad_norm"] > 0
        if case == "rejection":
            assert steps[step]["cppo/rejected/tokens"] > 0 and steps[step]["cppo/rejected/updates"] == 0
        if case == "by the loss":
            assert "actor/rollout_corr/rollout_rs_masked_fraction" in steps[step]

"""Steps without the old policy's forward, in both generations of trainers."""

from __future__ import annotations

import pytest
from eq_9 import OVERRIDES, B, G, assert_mini_batches_follow_eq_9
from recorded import different, of_kind, read_calls


@pytest.mark.parametrize("v1", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_old_forward_can_be_skipped(v1, train, toy):
    """Without it the gradient of a step of one pass over one mini-batch is still that of Eq. 9."""
    run = train(
        "run",
        f"trainer.use_v1={v1}",
        *("cppo.pruning_rate=0.5", "cppo.skip_old_log_prob=true", "actor_rollout_ref.rollout.calculate_log_probs=true"),
        *OVERRIDES,
        *("actor_rollout_ref.actor.ppo_epochs=1", f"actor_rollout_ref.actor.ppo_mini_batch_size={B}"),
        "trainer.total_training_steps=2",
    )
    calls = read_calls(run.folder / "calls/rank_0")
    assert not of_kind(calls, "old") and len(of_kind(calls, "ref")) == 2
    updates = zip(of_kind(calls, "update"), of_kind(calls, "optimizer step"), strict=True)
    for update, optimized in updates:
        assert_mini_batches_follow_eq_9([update["data"]], [optimized], B * G, toy / "model")


@pytest.mark.slow
@pytest.mark.parametrize("v1", [False, True])
def test_lora_and_bypass_mode(train, v1):
    """The old policy's forward is skipped, the reference is the model without its adapter, and only that learns."""
    run = train(
        "run",
        f"trainer.use_v1={v1}",
        "cppo.pruning_rate=0.5",
        "algorithm.rollout_correction.bypass_mode=true",
        "actor_rollout_ref.rollout.calculate_log_probs=true",
        "actor_rollout_ref.model.lora_rank=8",
        "actor_rollout_ref.model.lora_alpha=8",
        "actor_rollout_ref.rollout.load_format=safetensors",
    )
    calls = read_calls(run.folder / "calls/rank_0")
    assert [call["rows"] for call in calls if call["kind"] in ("old", "ref")] == [B * G] * 2, "the reference's, a step"
    first, *_, last = of_kind(calls, "optimizer step")
    moved = different(first["weights"], last["weights"])
    assert moved and all("lora_" in name for name in moved)

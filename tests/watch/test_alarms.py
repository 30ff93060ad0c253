"""What alarms, when, and how often."""

import math

import pytest

from cppo_verl.watch.alarms import (
    CLIPPED_STEPS,
    EQUAL_STEPS,
    Alarms,
    NotFinite,
    check_finite,
    share_clipped,
    weights_not_finite,
)

FINE = {
    "response_length/clip_ratio": 0.1,
    "critic/rewards/min": 0.0,
    "critic/rewards/max": 1.0,
    "cppo/updates_clipped": 0.0,
}
CUT = {"response_length/clip_ratio": 0.75}
EQUAL = {"critic/rewards/max": 0.0}
CLIPPED = {"cppo/updates_clipped": 1.0}


def heard(*steps: dict) -> dict[int, list[str]]:
    """The alarms of a run whose steps differ from fine ones in this."""
    alarms = Alarms(max_response_length=256, clip_grad=1.0)
    said = {number: alarms.of(number, FINE | step) for number, step in enumerate(steps, 1)}
    return {number: texts for number, texts in said.items() if texts}


def test_a_run_in_which_all_is_well_is_silent():
    assert heard(*[{}] * 3 * CLIPPED_STEPS) == {}
    assert Alarms(256, None).of(1, {}) == [], "nor does a step without metrics alarm"


def test_more_than_half_of_a_steps_completions_cut():
    alarms = heard({}, {"response_length/clip_ratio": 0.5}, CUT, CUT)
    assert list(alarms) == [3], "once"
    assert alarms[3][0].startswith("75% of the completions of step 3 were cut at data.max_response_length=256")


def test_equal_rewards_of_several_steps_in_a_row():
    alarms = heard(EQUAL, {}, *[EQUAL] * 2 * EQUAL_STEPS)
    assert list(alarms) == [2 + EQUAL_STEPS], "the first is not of the row"
    assert "all rewards of step 5 are 0, and those of the 2 steps before" in alarms[5][0]


@pytest.mark.parametrize(("clipped", "alarms_at"), [(1.0, CLIPPED_STEPS), (0.6, CLIPPED_STEPS), (0.5, None)])
def test_the_gradient_clipped_in_most_updates(clipped, alarms_at):
    alarms = heard(*[{"cppo/updates_clipped": clipped}] * 2 * CLIPPED_STEPS)
    assert list(alarms) == ([alarms_at] if alarms_at else [])


def test_each_kind_alarms_by_itself():
    assert [len(texts) for texts in heard(CUT | EQUAL, CUT | EQUAL, CUT | EQUAL).values()] == [1, 1]


@pytest.mark.parametrize(
    ("norms", "clip", "share"),
    [([0.5, 1.5, 1.0, 2.0], 1.0, 0.5), ([0.5], 1.0, 0.0), (3.0, 1.0, 1.0), ([], 1.0, None), ([0.5], None, None)],
)
def test_share_of_clipped_updates(norms, clip, share):
    assert share_clipped(norms, clip) == ({} if share is None else {"cppo/updates_clipped": share})


@pytest.mark.parametrize(
    "name", ["actor/grad_norm", "actor/loss", "actor/pg_loss", "actor/kl_loss", "critic/grad_norm", "critic/vf_loss"]
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_ends_the_run(name, value):
    with pytest.raises(NotFinite, match=rf"^step 7: {name} is {value}\. No checkpoint"):
        check_finite(7, {"actor/lr": 1e-3, name: value})


@pytest.mark.parametrize("name", ["actor/ppo_kl", "actor/kl_loss"])
def test_a_policy_that_is_another_one_ends_the_run(name):
    check_finite(7, {name: 1.5})
    with pytest.raises(NotFinite, match=rf"^step 7: {name} is 9\.5 nats per token: this is another policy"):
        check_finite(7, {name: 9.5})
    with pytest.raises(NotFinite):
        check_finite(7, {name: -9.5})


def test_a_sum_over_tokens_may_be_large():
    check_finite(7, {"actor/kl_loss": 9.5}, mean_loss=False)
    with pytest.raises(NotFinite):
        check_finite(7, {"actor/ppo_kl": 9.5}, mean_loss=False)


def test_other_metrics_may_be_what_they_are():
    check_finite(
        7, {"actor/grad_norm": 0.5, "actor/ppo_kl": math.nan, "critic/rewards/mean": math.inf, "loss": math.nan}
    )


def test_weights_are_named_up_to_three():
    assert "not finite: a, b. " in str(weights_not_finite(3, ["a", "b"]))
    assert "step 3: weights are not finite: a, b, c and 2 more. " in str(weights_not_finite(3, [*"abcde"]))

"""A run that updates nothing is not finished: it ends with the cause."""

import pytest

from cppo_verl.runs.causes import explain
from cppo_verl.watch.updates import NoUpdate, Updates

UPDATED = {"actor/grad_norm": 0.5, "cppo/completions_kept": 8}
NOTHING = {"cppo/completions_kept": 0, "critic/rewards/min": 0.0, "critic/rewards/max": 0.0}
REJECTED = {"cppo/completions_kept": 8, "cppo/rejected/updates": 1}
LAST = {"cppo/last_step": 1}


def ended_by(*steps: dict, is_new: bool = True) -> str | None:
    """What ended a run of these steps."""
    updates = Updates(is_new=is_new)
    try:
        for step, metrics in enumerate(steps, 1):
            updates.check(step, metrics)
    except NoUpdate as error:
        return explain(error)
    return None


def test_three_steps_in_a_row_end_the_run():
    assert ended_by(UPDATED, NOTHING, NOTHING, UPDATED, NOTHING) is None
    said = ended_by(UPDATED, NOTHING, NOTHING, NOTHING)
    assert said.startswith(
        "steps 2 to 4 updated nothing: no question's completions had different rewards (those of the"
    )
    assert "cppo.zero_variance=drop" in said and "cppo.max_gen_rounds" in said


def test_a_run_that_is_over_without_an_update_has_not_finished():
    assert ended_by(NOTHING | LAST).startswith("step 1 updated nothing")
    assert ended_by(NOTHING, NOTHING | LAST).startswith("steps 1 to 2 updated nothing")


def test_the_last_step_alone_may_have_nothing_left():
    """The questions were used up, or a resumed run had only this one to make."""
    assert ended_by(UPDATED, NOTHING | LAST) is None
    assert ended_by(NOTHING | LAST, is_new=False) is None


def test_what_was_rejected_is_said():
    assert "rollout_rs rejected their completions" in ended_by(REJECTED, REJECTED, REJECTED)


@pytest.mark.parametrize("highest", [0.0, 1.0])
def test_equal_rewards_are_named_where_they_are(highest):
    said = ended_by(*[NOTHING | {"critic/rewards/max": highest}] * 3)
    assert ("(those of the last step are 0)" in said) == (highest == 0)

"""What whoever starts a run sees of it, and that it ends before it saves a model that is lost."""

from __future__ import annotations

import re

import pytest
from recorded import read_metrics

from cppo_verl.runs.checkpoints import Checkpoints

CUT_SHORT = "data.max_response_length=3"
"""Too short for any answer: every reward is 0."""
STEP = r"  reward 0\.00  accuracy  0%  length 3  kept 16/16  zero-variance 4/4  generation [\d.]+ s  training [\d.]+ s"


@pytest.mark.parametrize("v1", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_tells_how_it_goes_until_a_weight_is_not_finite(v1, train):
    run = train(
        "run",
        f"trainer.use_v1={v1}",
        *("trainer.total_training_steps=4", "trainer.save_freq=2", "trainer.test_freq=2", "trainer.logger=[file]"),
        *(CUT_SHORT, "+own.lost_at=4"),
        ok=False,
    )
    shown = [
        "(GRPO|note): .*",
        f"Log of all processes: {run.folder}/log.txt",
        *(f"waiting for {what}" for what in ("Ray", "the trainer", "the workers", "the weights", "the rollout engine")),
        r"started in \d+ s: Ray \d+ s, .*, rollout engine \d+ s",
        f"step 1/4{STEP}",
        r"warning: \d+% of the completions of step 1 were cut at data\.max_response_length=3, .*",
        f"step 2/4{STEP}",
        r"checkpoint after step 2: global_step_2 \([\d.]+ s\)",
        r"validation after step 2: accuracy 0\.0% of 16 questions \([\d.]+ s\)",
        f"step 3/4{STEP}",
        "warning: all rewards of step 3 are 0, .*",
        f"step 4/4{STEP}",
        f"The log, with the traceback: {run.folder}/log.txt",
        r"error: step 4: weights are not finite: .*embed_tokens.* goes on after step 2",
    ]
    assert re.search("\n".join(shown), run.terminal), run.terminal
    assert run.returncode == 1 and Checkpoints(run.folder).last_complete().name == "global_step_2"
    assert "pid=" not in run.terminal and "WorkerDict pid=" in (run.folder / "log.txt").read_text()
    assert all(step["cppo/updates_clipped"] == 0 for step in read_metrics(run.folder).values())


@pytest.mark.parametrize("v1", [False, True])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            (CUT_SHORT, "cppo.zero_variance=drop", "cppo.max_gen_rounds=1"),
            "no question's completions had different rewards",
        ),
        (
            (
                "actor_rollout_ref.rollout.calculate_log_probs=true",
                "algorithm.rollout_correction.rollout_rs=seq_max_k2",
                "algorithm.rollout_correction.rollout_rs_threshold=1e-30",
            ),
            "rollout_rs rejected their completions",
        ),
    ],
)
@pytest.mark.slow
def test_a_run_that_updates_nothing_is_not_finished(v1, options, says, train):
    """Neither its weights nor a checkpoint change, and it ends with the cause."""
    sizes = "cppo.pruning_rate=0.5", "cppo.allocation=false", "trainer.total_training_steps=5", "trainer.save_freq=4"
    run = train("run", f"trainer.use_v1={v1}", *sizes, *options, ok=False)
    assert run.returncode == 1 and "Finished" not in run.terminal
    assert re.search(rf"error: steps 1 to 3 updated nothing: .*{says}", run.terminal), run.terminal
    assert Checkpoints(run.folder).last_complete() is None
    assert all("actor/grad_norm" not in step for step in read_metrics(run.folder).values())

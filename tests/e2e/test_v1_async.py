"""verl's asynchronous V1 trainers: a run, and what its second start goes on with."""

from __future__ import annotations

import json
import time
from pathlib import Path
from subprocess import Popen

import pytest
from eq_9 import MINI, OVERRIDES, STEPS, B, G, K, assert_mini_batches_follow_eq_9
from recorded import of_kind, read_calls, read_metrics

from cppo_verl.trainer.v1.queue import asked

DROP = "{pruning_rate:0.5,allocation:true,zero_variance:drop,max_gen_rounds:3}"
QUESTIONS = B * G // K
"""Of a step with allocation, and of the prefetch."""
EPOCH = 40
"""Questions of the data, 48, that whole steps take."""
MODES = {
    "colocate_async": ("trainer.use_v1=true", "trainer.v1.trainer_mode=cppo_colocate_async"),
    "separate_async": ("mode=separate_async", "trainer.v1.separate_async.parameter_sync_step=2"),
}
"""verl's name of each, and what chooses it."""


@pytest.mark.parametrize("mode", [pytest.param("colocate_async", marks=pytest.mark.slow), "separate_async"])
def test_a_run_and_its_resume(mode, train, toy, tmp_path):
    """Its steps follow Eq. 9; over two starts no question is lost, trained on twice or older than allowed."""
    options = (
        *(MODES[mode] + OVERRIDES),
        *("cppo.pruning_rate=0.5", f"+own.cppo_by_step=[{','.join((*STEPS[:2], DROP, DROP, STEPS[0]))}]"),
        # Weights would be beside Eq. 9; the correction's metrics are taken.
        *("algorithm.rollout_correction.rollout_is=null", "actor_rollout_ref.rollout.calculate_log_probs=true"),
        *("trainer.save_freq=3", "trainer.v1.sampler.max_off_policy_threshold=4"),
        *("trainer.total_training_steps=5", f"trainer.rollout_data_dir={tmp_path}/run/rollouts"),
    )
    killed = train("run", *options, meanwhile=kill_after_step_3, ok=False).folder
    assert_first_steps_follow_eq_9(killed, toy / "model", cycles=2 if mode == "separate_async" else 1)
    resumed = train("run", *options)

    assert "/global_step_3, setting global step to 3" in resumed.output
    assert "Restored" in resumed.output, "what was being sampled"
    steps = read_metrics(resumed.folder)
    assert list(steps) == [1, 2, 3, 4, 5]
    sampled = [json.loads(line) for step in steps for line in dump(resumed.folder, step).open()]
    ids = {row["row_id"] for row in sampled}
    assert len(ids) == len(sampled) == sum(step["cppo/completions_sampled"] for step in steps.values())
    by_turn = {asked(row["row_id"].rpartition(":")[0]): row["input"] for row in sampled}
    first = [by_turn[turn] for turn in sorted(by_turn)][:EPOCH]
    assert len(set(first)) == len(first), "before the data begin anew, each question is another one"
    assert sum(steps[5][f"cppo/{left}_questions"] for left in ("in_flight", "unused")) == 0
    for dropping in (steps[3], steps[4]):
        varied = dropping["cppo/questions"] - dropping["cppo/zero_variance_questions"]
        assert dropping["cppo/completions_kept"] + dropping["cppo/surplus"] == K * varied
    del steps[3]  # whose line may lack what is known after the checkpoint
    for number, step in steps.items():
        assert 0 <= step["training/off_policy/trajectory_staleness_worst/max"] < 4, f"step {number}"
        assert step["cppo/completions_sampled"] == G * step["cppo/questions"]
        assert 0 < step["cppo/idle/trainer"] < 1 and 0 <= step["cppo/idle/engine"] <= 1
    assert min(step["cppo/idle/engine"] for step in steps.values()) < 1, "but not in all of them, as in the last step"
    stale = [step["training/off_policy/trajectory_staleness_worst/max"] for step in steps.values()]
    assert max(stale) > 0, "the prefetch was trained on, by newer weights than sampled it"


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_aborted_questions_go_on(train, mode):
    """What is being sampled is aborted for new weights; nothing is lost, and steps are full."""
    engine = ("mode=separate_async",) if mode == "separate_async" else ()
    options = *engine, "trainer.use_v1=true", f"trainer.v1.trainer_mode=cppo_{mode}", "trainer.total_training_steps=4"
    sampled = [step["cppo/completions_sampled"] for step in read_metrics(train("run", *options).folder).values()]
    assert len(sampled) == 4 and len(set(sampled)) == 1


@pytest.mark.slow
def test_stale_completions_are_corrected_and_adapters_reach_the_engine(train):
    """LoRA with an engine on a device of its own: what it samples by is what trains, as far as bfloat16 shows it."""
    lora = (f"actor_rollout_ref.model.{option}" for option in ("lora_rank=8", "lora_alpha=16"))
    options = *MODES["separate_async"], *lora, "actor_rollout_ref.actor.optim.lr=1e-2", "cppo.pruning_rate=0.5"
    ahead = "trainer.v1.separate_async.num_warmup_batches=0", "actor_rollout_ref.rollout.load_format=safetensors"
    steps = read_metrics(train("run", *options, *ahead, "trainer.total_training_steps=4").folder)
    for number, step in steps.items():
        assert step["rollout_corr/rollout_is_mean"] > 0, f"step {number}: the weights are taken"
    # After three updates at this rate the base model alone would be far off.
    assert abs(steps[4]["rollout_corr/kl"]) < 0.05


def kill_after_step_3(run: Popen) -> None:
    """SIGKILL to a run's driver, as soon as it has the checkpoint and the dump, which verl writes after it."""
    folder = Path(next(arg.split("=")[1] for arg in run.args if arg.startswith("trainer.default_local_dir=")))
    while run.poll() is None and not ((folder / "global_step_3/complete.json").exists() and is_whole(dump(folder, 3))):
        time.sleep(0.05)
    run.kill()


def is_whole(path: Path) -> bool:
    """Whether a file is there and has not been written to for a moment."""
    return path.exists() and time.time() - path.stat().st_mtime > 0.3


def dump(folder: Path, step: int) -> Path:
    """All that a step sampled."""
    return folder / f"rollouts/{step}.jsonl"


def assert_first_steps_follow_eq_9(run: Path, model: Path, cycles: int) -> None:
    """The first step of a run has room for other questions, its second has not; in both each cycle is an update."""
    calls = read_calls(run / "calls/rank_0")
    updates, optimized = of_kind(calls, "update"), of_kind(calls, "optimizer step")
    per_cycle = B // MINI * 2 // cycles  # mini-batches, each in two PPO epochs
    for step, (rows, mini_rows) in enumerate(((B * G, MINI * G), (B * K, MINI * K))):
        first = step * cycles
        old_weights = optimized[first * per_cycle]["weights"]
        for cycle in range(first, first + cycles):
            assert updates[cycle]["rows"] == rows // cycles
            of_cycle = optimized[cycle * per_cycle : (cycle + 1) * per_cycle]
            batches = [updates[cycle]["data"]]
            assert_mini_batches_follow_eq_9(batches, of_cycle, mini_rows, model, old_weights)

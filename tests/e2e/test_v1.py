"""verl's V1 trainers: CPPO's step there is that of the V0 trainer, and without pruning verl's own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from eq_9 import OVERRIDES, STEPS, assert_steps_follow_eq_9
from omegaconf import OmegaConf
from recorded import different, of_kind, read_calls, read_metrics, weights
from runs import running, trainer

GRPO = "{pruning_rate:0,allocation:false}"
DROP = "{pruning_rate:0.5,allocation:true,zero_variance:drop,max_gen_rounds:3}"
BY_STEP = f"+cppo_by_step=[{','.join((GRPO, *STEPS, DROP))}]"
V1 = "trainer.use_v1=true"
TWO_STEPS = "trainer.total_training_steps=2", "trainer.save_freq=-1", "cppo.save_best=false"
SAME = (
    *("trainer.total_training_steps=4", "trainer.save_freq=2", "trainer.test_freq=4", "cppo.save_best=true"),
    "trainer.balance_batch=false",  # V0 and V1 of verl balance in another order
    *("actor_rollout_ref.rollout.agent.default_agent_loop=replaying", "data.return_raw_chat=true"),
    *OVERRIDES,
)


@pytest.fixture(scope="module")
def start(repo, toy, tmp_path_factory) -> Callable:
    """`start("name", *overrides)`: a run with the completions of the earlier ones."""
    base = tmp_path_factory.mktemp("v1")
    loops = base / "loops.yaml"
    loops.write_text("- name: replaying\n  _target_: replaying.ReplayingLoop\n")
    with running(repo) as runner:
        train = trainer(runner, toy, base)
        replay = (
            f"actor_rollout_ref.rollout.agent.agent_loop_config_path={loops}",
            f"+completions={base}/completions",
        )
        yield lambda name, *overrides: train(name, *SAME, *replay, *overrides).folder


@pytest.fixture(scope="module")
def sync(start) -> Path:
    """The folder of a run in the mode `cppo_sync`: a step of GRPO, two of CPPO, one with `zero_variance=drop`."""
    return start("sync", V1, BY_STEP)


def test_sync_follows_eq_9(sync, toy):
    assert_steps_follow_eq_9(sync, toy / "model", ranks=1, first_step=2)


def test_sync_is_v0(sync, start):
    """The same rows, metrics and, to the bit, weights, step by step."""
    v0 = start("v0", BY_STEP)
    assert not different(weights(v0, 2), weights(sync, 2))
    assert not different(weights(v0, 4), weights(sync, 4))
    expected, found = read_metrics(v0), read_metrics(sync)
    assert list(expected) == list(found)
    assert expected[4]["cppo/rounds"] > 1 and found[4]["cppo/replaced_questions"] > 0, "questions were dropped"
    for step in expected:
        assert described(found[step]) == pytest.approx(described(expected[step]), abs=1e-6), f"step {step}"


def test_a_resume_goes_on_as_if_undisturbed(sync, start):
    """A run that lost what came after step 2, for which it takes a step that was not finished, makes it again."""
    folder = sync.parent / "resumed"
    shutil.copytree(sync, folder)
    (folder / "global_step_4/complete.json").unlink()
    start("resumed", V1, BY_STEP)
    expected, found = read_metrics(sync), read_metrics(folder)
    assert list(expected) == list(found)
    for step in expected:
        assert described(found[step]) == pytest.approx(described(expected[step]), abs=1e-6), f"step {step}"
    assert not different(weights(sync, 4), weights(folder, 4))


def test_sync_without_pruning_is_verls_own(sync, start):
    """Each row of the first step's update is what verl's mode `sync` gives its worker.

    Which of them are a mini-batch is not: verl takes questions in the order in which they are finished, which no two
    runs share, and CPPO in that in which they are asked.
    """
    own = start("own", V1, "+verls_own=true", "trainer.total_training_steps=1")
    ours, verls = (update_rows(run) for run in (sync, own))
    assert ours.keys() == verls.keys()
    for ids, row in verls.items():
        for name in ("advantages", "old_log_probs", "ref_log_prob", "response_mask"):
            torch.testing.assert_close(ours[ids][name], row[name], atol=1e-5, rtol=1e-5)
    assert len(of_kind(read_calls(own / "calls/rank_0"), "optimizer step")) == 4, "mini-batches of the same size"


@pytest.mark.slow
def test_two_ranks_follow_eq_9(start, toy):
    """Each rank's forwards see half of the rows that stay."""
    run = start("two_ranks", V1, f"+cppo_by_step=[{','.join(STEPS)}]", "trainer.n_gpus_per_node=2", *TWO_STEPS)
    assert_steps_follow_eq_9(run, toy / "model", ranks=2, first_step=1)


@pytest.mark.slow
def test_verls_own_command_knows_the_mode(sync, repo, tmp_path):
    """`python -m verl.trainer.main_ppo` with a config of verl's alone, and one option of CPPO's."""
    config = OmegaConf.load(sync / "config.yaml")
    env = dict(config.ray_kwargs.ray_init.runtime_env.env_vars)
    config = OmegaConf.masked_copy(config, [key for key in config if key not in ("cppo", "dry_run", "data_hint")])
    agent = config.actor_rollout_ref.rollout.agent
    agent.update(default_agent_loop="single_turn_agent", agent_loop_config_path=None)
    config.trainer.update(default_local_dir=f"{tmp_path}/run", total_training_steps=1, save_freq=-1, test_freq=-1)
    OmegaConf.save(config, tmp_path / "verls.yaml")
    command = [sys.executable, "-m", "verl.trainer.main_ppo", f"--config-path={tmp_path}", "--config-name=verls"]
    with running(repo) as runner:
        runner([*command, "+cppo.pruning_rate=0.5"], tmp_path / "log", env=env)
    (step,) = read_metrics(tmp_path / "run").values()
    assert (step["cppo/questions"], step["cppo/completions_sampled"], step["cppo/completions_kept"]) == (8, 32, 16)


def update_rows(run: Path) -> dict[tuple, dict[str, torch.Tensor]]:
    """What a run's first update was given, by the tokens of a row."""
    data = of_kind(read_calls(run / "calls/rank_0"), "update")[0]["data"]
    rows = range(len(data["input_ids"]))
    return {tuple(data["input_ids"][i].tolist()): {name: column[i] for name, column in data.items()} for i in rows}


def described(step: dict) -> dict:
    """What both generations of trainers log of the data and of the update."""
    kinds = ("cppo/", "actor/", "critic/", "response_length/", "prompt_length/", "val-core/")
    of_v1 = ("replaced_questions", "in_flight_questions", "unused_questions", "idle/")
    own = ("cppo/rounds", "actor/perf/", *(f"cppo/{name}" for name in of_v1))
    return {name: value for name, value in step.items() if name.startswith(kinds) and not name.startswith(own)}

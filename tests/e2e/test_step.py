"""A step in both generations of verl's trainers: without pruning verl's own, with it Eq. 9's, and the same in both."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from eq_9 import CHECKED, EPOCHS, OVERRIDES, STEPS, B, assert_steps_follow_eq_9
from omegaconf import OmegaConf
from recorded import different, of_kind, read_calls, read_metrics, weights
from runs import running, trainer

from cppo_verl.algorithm.metrics import SUBSET, validation_accuracy

GENERATIONS = {"v0": "trainer.use_v1=false", "v1": "trainer.use_v1=true"}
GRPO = "{pruning_rate:0,allocation:false}"
DROP = "{pruning_rate:0.5,allocation:true,zero_variance:drop,max_gen_rounds:3}"
BY_STEP = f"+own.cppo_by_step=[{','.join((GRPO, *STEPS, DROP))}]"
LAST = 1 + len(STEPS) + 1
SAME = (
    *(
        f"trainer.total_training_steps={LAST}",
        "trainer.save_freq=2",
        f"trainer.test_freq={LAST}",
        "cppo.save_best=true",
    ),
    *("cppo.val_every_questions=16", "cppo.val_subset=8"),
    "trainer.balance_batch=false",  # V0 and V1 of verl balance in another order
    *("actor_rollout_ref.rollout.agent.default_agent_loop=replaying", "data.return_raw_chat=true"),
    *OVERRIDES,
)
NOT_SAVED = "trainer.save_freq=-1", "trainer.test_freq=-1", "cppo.save_best=false", "cppo.val_every_questions=null"


@pytest.fixture(scope="module")
def start(repo, prefork, toy, tmp_path_factory) -> Callable[..., Path]:
    """`start("name", *overrides)`: the folder of a run with the completions of the earlier ones."""
    base = tmp_path_factory.mktemp("step")
    loops = base / "loops.yaml"
    loops.write_text("- name: replaying\n  _target_: replaying.ReplayingLoop\n")
    with running(repo, prefork) as runner:
        train = trainer(runner, toy, base)
        replay = (
            f"actor_rollout_ref.rollout.agent.agent_loop_config_path={loops}",
            *(f"+own.completions={base}/completions", f"skip.rollout.dump_dir={base}/rollouts"),
        )
        yield lambda name, *overrides: train(name, *SAME, *replay, *overrides).folder


@pytest.fixture(scope="module")
def run(start) -> Callable[[str], Path]:
    """`run("v0")`: the folder of a run of that generation: a step of GRPO, some of CPPO, one that drops questions."""
    return cache(lambda generation: start(generation, GENERATIONS[generation], BY_STEP))


@pytest.mark.parametrize("generation", GENERATIONS)
def test_steps_follow_eq_9(generation, run, toy):
    assert_steps_follow_eq_9(run(generation), toy / "model", ranks=1, first_step=2)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_without_pruning_updates_are_those_of_verls_own_trainer(generation, start):
    """The rows, their advantages and log-probs, and weights and gradients of each update: on V0 bit-identical.

    On V1 the rows of a mini-batch are summed in another order: verl's is that in which their questions are finished.
    """
    verls, ours = calls_of_verl_and_of_cppo(generation, start)
    expected, found = (trained_rows(calls) for calls in (verls, ours))
    assert expected.keys() == found.keys()
    for ids, row in expected.items():
        for name in ("advantages", "old_log_probs", "ref_log_prob", "response_mask"):
            torch.testing.assert_close(found[ids][name], row[name], atol=1e-5, rtol=1e-5)
    updates = list(zip(of_kind(verls, "optimizer step"), of_kind(ours, "optimizer step"), strict=True))
    assert len(updates) > 1
    for number, (of_verl, of_cppo) in enumerate(updates):
        for kind in ("weights", "gradients"):
            if generation == "v0":
                assert not different(of_verl[kind], of_cppo[kind]), f"{kind} of update {number}"
            for name, tensor in of_verl[kind].items():
                error = (of_cppo[kind][name] - tensor).norm() / tensor.norm().clamp(min=1e-12)
                assert error < 1e-4, f"{kind} of update {number}, {name}: {error:.1e}"


def test_both_generations_train_the_same(run):
    """The same rows and metrics, and bit-identical weights, step by step.

    Where questions are dropped V0 samples some that it does not need in the end: what is trained on is the same.
    """
    v0, v1 = run("v0"), run("v1")
    assert not different(weights(v0, 2), weights(v1, 2))
    assert not different(weights(v0, LAST), weights(v1, LAST))
    expected, found = read_metrics(v0), read_metrics(v1)
    assert expected[LAST]["cppo/rounds"] > 1 and found[LAST]["cppo/replaced_questions"] > 0, "questions were dropped"
    trained = ("cppo/kept/", "cppo/completions_kept", "cppo/tokens_trained", "actor/")
    for steps in (expected, found):
        steps[LAST] = {name: value for name, value in steps[LAST].items() if name.startswith(trained)}
    assert_same_steps(expected, found)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_throughput_is_of_all_that_is_sampled(generation, run):
    steps = read_metrics(run(generation)).values()
    assert any(step["cppo/tokens_trained"] < step["cppo/tokens_sampled"] for step in steps)
    for step in steps:
        assert step["perf/total_num_tokens"] == step["cppo/tokens_sampled"]
        rate = step["cppo/tokens_sampled"] / step["perf/time_per_step"]
        assert step["perf/throughput"] == pytest.approx(rate), "on one device"


@pytest.mark.parametrize("generation", GENERATIONS)
def test_padding_and_fill_are_those_of_the_rows_that_workers_were_given(generation, run):
    """Each mini-batch is one micro-batch here: its token budget is larger."""
    folder = run(generation)
    budget = OmegaConf.load(folder / "config.yaml").actor_rollout_ref.actor.ppo_max_token_len_per_gpu
    updates, steps = of_kind(read_calls(folder / "calls/rank_0"), "update"), read_metrics(folder)
    for step, checked in enumerate(CHECKED, 2):
        lengths = torch.tensor([len(row) for row in updates[step - 1]["data"]["input_ids"]])
        padding = sum(int(rows.max() * len(rows) - rows.sum()) for rows in lengths.split(checked.mini_rows))
        found, tokens = steps[step], int(lengths.sum())
        assert found["cppo/padding/update"] == EPOCHS * padding
        assert found["cppo/fill/update"] == pytest.approx(tokens / (budget * len(lengths) / checked.mini_rows))
        for forward in ("old", "ref"):
            assert found[f"cppo/padding/{forward}"] == len(lengths) * int(lengths.max()) - tokens
            assert found[f"cppo/fill/{forward}"] == pytest.approx(tokens / budget)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_part_of_the_questions_is_validated_in_between(generation, run):
    """Where a step's questions, 8 in every second step, reach a multiple of 16; at the end all are validated."""
    steps = read_metrics(run(generation))
    assert {number: step[SUBSET] for number, step in steps.items() if SUBSET in step} == {2: 8, 4: 8}
    assert {number for number, step in steps.items() if validation_accuracy(step) is not None} == {2, 4, LAST}
    assert steps[LAST]["cppo/best/step"] == LAST, "the best checkpoint is chosen on all questions"
    assert all(steps[number]["timing_s/testing"] > 0 for number in (2, 4, LAST))


@pytest.mark.parametrize("generation", ["v1"])  # V0's is in test_two_ranks.py
def test_a_resume_goes_on_as_if_undisturbed(generation, run, start):
    """A run that lost what came after step 4, for which it takes a step that was not finished, makes it again."""
    whole = run(generation)
    folder = whole.parent / "resumed"
    shutil.copytree(whole, folder)
    last = folder / f"global_step_{LAST}"
    (last / "complete.json").rename(last / "unfinished")  # without either it would be taken for one of verl's own
    start("resumed", GENERATIONS[generation], BY_STEP)
    assert_same_steps(read_metrics(whole), read_metrics(folder))
    assert not different(weights(whole, LAST), weights(folder, LAST))


@pytest.mark.slow
def test_verls_own_command_knows_the_mode(run, runner, tmp_path):
    """`python -m verl.trainer.main_ppo` with a config of verl's alone, and one option of CPPO's."""
    config = OmegaConf.load(run("v1") / "config.yaml")
    env = dict(config.ray_kwargs.ray_init.runtime_env.env_vars)
    config = OmegaConf.masked_copy(config, [key for key in config if key not in ("cppo", "dry_run", "data_hint")])
    agent = config.actor_rollout_ref.rollout.agent
    agent.update(default_agent_loop="single_turn_agent", agent_loop_config_path=None)
    config.trainer.update(default_local_dir=f"{tmp_path}/run", total_training_steps=1, save_freq=-1, test_freq=-1)
    OmegaConf.save(config, tmp_path / "verls.yaml")
    command = [sys.executable, "-m", "verl.trainer.main_ppo", f"--config-path={tmp_path}", "--config-name=verls"]
    runner([*command, "+cppo.pruning_rate=0.5"], tmp_path / "log", env=env)
    (step,) = read_metrics(tmp_path / "run").values()
    assert (step["cppo/questions"], step["cppo/completions_sampled"], step["cppo/completions_kept"]) == (8, 32, 16)


def calls_of_verl_and_of_cppo(generation: str, start: Callable[..., Path]) -> tuple[list[dict], list[dict]]:
    """What the worker was given by verl's own trainer and by ours at P = 0, for the same completions."""
    if generation == "v0":  # on one start of the stack, with rollouts that verl keeps
        schedule = "+own.verl_first=3", f"+own.cppo_by_step=[{','.join([GRPO] * 3)}]", "trainer.experiment_name=parity"
        kept = "skip.rollout.enable=true", "skip.rollout.steps=[1,2,3]"
        run = start("parity", *schedule, *kept, "trainer.total_training_steps=3", *NOT_SAVED)
        assert "Load generate result at step 3" in (run / "log.txt").read_text()
        calls = [call for call in read_calls(run / "calls/rank_0") if call["kind"] != "load"]
        return calls[: len(calls) // 2], calls[len(calls) // 2 :]
    # One mini-batch a step: of several, verl's order would decide which question is in which.
    steps = "trainer.total_training_steps=1", f"actor_rollout_ref.actor.ppo_mini_batch_size={B}", *NOT_SAVED
    ours = start("ours", GENERATIONS[generation], f"+own.cppo_by_step=[{GRPO}]", *steps)
    verls = start("verls", GENERATIONS[generation], "+own.verls_own=true", *steps)
    return read_calls(verls / "calls/rank_0"), read_calls(ours / "calls/rank_0")


def trained_rows(calls: list[dict]) -> dict[tuple, dict[str, torch.Tensor]]:
    """The rows of the first update, by their tokens."""
    data = of_kind(calls, "update")[0]["data"]
    rows = range(len(data["input_ids"]))
    return {tuple(data["input_ids"][i].tolist()): {name: column[i] for name, column in data.items()} for i in rows}


def assert_same_steps(expected: dict[int, dict], found: dict[int, dict]) -> None:
    """The metrics of two runs, step by step."""
    assert list(expected) == list(found)
    for step in expected:
        assert described(found[step]) == pytest.approx(described(expected[step]), abs=1e-6), f"step {step}"


def described(step: dict) -> dict:
    """What both generations of trainers log of the data and of the update."""
    kinds = ("perf/total_num_tokens", "cppo/", "actor/", "critic/", "response_length/", "prompt_length/", "val-core/")
    of_v1 = ("replaced_questions", "in_flight_questions", "unused_questions", "idle/")
    own = ("cppo/rounds", "cppo/bytes_sent", "actor/perf/", *(f"cppo/{name}" for name in of_v1))
    return {name: value for name, value in step.items() if name.startswith(kinds) and not name.startswith(own)}

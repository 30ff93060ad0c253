"""The scripts of recipe/grpo_plus, without a GPU: demonstrations, warm start, three trainings from it, evaluation."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from eq_9 import assert_mini_batches_follow_eq_9
from recorded import different, of_kind, read_calls, read_metrics
from runs import Run, running
from safetensors.torch import load_file

G, LR = 8, 2e-3
WEIGHTS = "model.safetensors"
SMALL = (
    "device=cpu",
    "reward.custom_reward_function.path=pkg://cppo_verl.rewards.gsm8k",
    *("data.max_prompt_length=64", "data.max_response_length=64", "data.filter_overlong_prompts=false"),
    *("data.train_batch_size=4", "actor_rollout_ref.actor.ppo_mini_batch_size=2"),
    *(f"actor_rollout_ref.actor.optim.lr={LR}", "actor_rollout_ref.actor.optim.clip_grad=1e9"),
    *("trainer.total_training_steps=2", "trainer.val_before_train=false", "trainer.test_freq=-1"),
)
"""What the embedded default needs, rates far enough that ratios are clipped, and gradients as they are."""


@pytest.fixture(scope="module")
def script(repo, prefork, tmp_path_factory) -> Callable[..., Run]:
    """`script("name", "key=value", ...)`: a script run to its end, in a folder of its name.

    With `recorded=True` its `-m cppo_verl train` is `instrumented.py`, which writes down what the workers are given.
    """
    base = tmp_path_factory.mktemp("grpo_plus")
    instrumented = base / "python"
    python = prefork.python if prefork else sys.executable
    instrumented.write_text(f'#!/usr/bin/env bash\nexec {python} tests/e2e/instrumented.py "${{@:4}}"\n')
    instrumented.chmod(0o755)

    def run(name: str, *overrides: str, recorded: bool = False) -> Run:
        env = {"PYTHON": str(instrumented)} if recorded else None
        with running(repo, prefork) as runner:
            return runner(["bash", f"recipe/grpo_plus/{name}.sh", *overrides], base / name, env=env)

    run.base = base
    return run


@pytest.fixture(scope="module")
def fine_tune(repo, prefork, toy, script) -> Callable[..., Path]:
    """`fine_tune("name", "key=value", ...)`: the folder of a warm start on five steps of demonstrations an epoch."""
    data = script.base / "demonstrations"
    prepare = [sys.executable, "examples/data_preprocess/sft.py", "--local_dir", str(data), "--validation", "8"]
    with running(repo, prefork) as runner:
        runner([*prepare, "--rows", f"{toy}/train.parquet"], data)
    small = (f"model.path={toy}/model", "data.max_length=256", "data.train_batch_size=8", "optim.lr=1e-3")
    files = (f"data.train_files={data}/train.parquet", f"data.val_files={data}/validation.parquet")

    def run(name: str, *overrides: str) -> Path:
        folder = script.base / name
        script("sft", "device=cpu", *small, *files, f"trainer.default_local_dir={folder}", *overrides)
        return folder

    return run


@pytest.fixture(scope="module")
def warm_start(fine_tune) -> Path:
    """The folder of the warm start."""
    return fine_tune("sft", "trainer.total_epochs=1")


@pytest.fixture(scope="module")
def train(toy, script, warm_start) -> Callable[..., Run]:
    """`train("name")`: two steps of a script from the warm start, recorded."""

    def run(name: str, *overrides: str) -> Run:
        files = (f"data.train_files={toy}/train.parquet", f"data.val_files={toy}/validation.parquet")
        model = f"actor_rollout_ref.model.path={warm_start}/model"
        folder = f"trainer.default_local_dir={script.base}/{name}"
        return script(name, *SMALL, *files, model, folder, *overrides, recorded=True)

    return run


@pytest.fixture(scope="module")
def grpo_plus(train) -> Path:
    """The folder of the run with a checkpoint."""
    return train("grpo_plus", "trainer.save_freq=2").folder


def test_the_warm_start_learns_and_hands_its_model_on(warm_start):
    log = read_metrics_of_all_lines(warm_start)
    losses = [data["train/loss"] for data in log if "train/loss" in data]
    assert len(losses) == 5 and losses[-1] < losses[0]
    assert [data["val/loss"] > 0 for data in log if "val/loss" in data] == [True]
    saved, model = (load_file(warm_start / folder / WEIGHTS) for folder in ("global_step_5/huggingface", "model"))
    assert not different(saved, model)


def test_a_warm_start_goes_on_at_an_epochs_end(fine_tune):
    """For further epochs, as if it had never ended: at a rate that does not know where the end is."""
    constant = ("optim.lr_scheduler_type=constant", "optim.lr_warmup_steps_ratio=0")
    whole = fine_tune("whole", *constant, "trainer.total_epochs=3")
    fine_tune("parts", *constant, "trainer.total_epochs=1")
    parts = fine_tune("parts", *constant, "trainer.total_epochs=3")
    assert [path.name for path in parts.glob("global_step_*")] == ["global_step_15"]
    assert not different(*(load_file(folder / "model" / WEIGHTS) for folder in (whole, parts)))


def test_grpo_plus_trains_without_a_reference_model(grpo_plus, warm_start):
    """One model is loaded, that of the warm start; the loss has the two clip bounds and no KL term."""
    calls, model = read_calls(grpo_plus / "calls/rank_0"), warm_start / "model"
    assert [load["forward_only"] for load in of_kind(calls, "load")] == [False]
    assert not of_kind(calls, "ref")
    assert not any("kl_loss" in key or key == "timing_s/ref" for key in read_metrics(grpo_plus)[1])
    assert not different(of_kind(calls, "optimizer step")[0]["weights"], load_file(model / WEIGHTS))
    assert_loss(grpo_plus, model, beta=0, clip=(0.2, 0.28))
    with pytest.raises(AssertionError, match="update"):
        assert_loss(grpo_plus, model, beta=0, clip=(0.2, 0.2))


def test_the_schedule_ends_at_0_8_of_the_peak(grpo_plus):
    rates = [data["actor/lr"] for data in read_metrics(grpo_plus).values()]
    assert rates == pytest.approx([0.9 * LR, 0.8 * LR])


def test_the_baseline_has_all_that_is_changed(train, warm_start):
    run = train("grpo_baseline").folder
    calls = read_calls(run / "calls/rank_0")
    assert sorted(load["forward_only"] for load in of_kind(calls, "load")) == [False, True]
    assert len(of_kind(calls, "ref")) == 2
    assert read_metrics(run)[2]["actor/lr"] == pytest.approx(0.1 * LR)
    assert_loss(run, warm_start / "model", beta=0.04, clip=(0.2, 0.2))


def test_cppo_composes_with_it(train, warm_start):
    run = train("cppo_plus").folder
    calls, metrics = read_calls(run / "calls/rank_0"), read_metrics(run)
    assert all((step["cppo/questions"], step["cppo/completions_kept"]) == (8, 4 * G) for step in metrics.values())
    assert [load["forward_only"] for load in of_kind(calls, "load")] == [False]
    assert metrics[2]["actor/lr"] == pytest.approx(0.8 * LR)
    assert_loss(run, warm_start / "model", beta=0, clip=(0.2, 0.28), rows=G)


def test_the_evaluation_of_a_run(toy, script, grpo_plus):
    names = ("gsm8k", "math500", "amc23", "olympiadbench")
    files = [f"+files.{name}={toy}/test.parquet" for name in names]
    script("eval", "device=cpu", f"model={grpo_plus}", *files, "limit=4", "sampling.max_tokens=32")
    (results,) = (grpo_plus / "eval/global_step_2").glob("*/results.json")
    benchmarks = json.loads(results.read_text())["benchmarks"]
    assert {name: benchmarks[name]["questions"] for name in benchmarks} == dict.fromkeys(names, 4)


def assert_loss(run: Path, model: Path, beta: float, clip: tuple[float, float], rows: int = 2 * G) -> None:
    """All updates of both steps, each on so many of a step's rows, have the gradient of this loss."""
    calls = read_calls(run / "calls/rank_0")
    batches, updates = of_kind(calls, "update"), of_kind(calls, "optimizer step")
    a_step = 4 * G // rows
    assert (len(batches), len(updates)) == (2, 2 * a_step)
    for step, batch in enumerate(batches):
        own = updates[a_step * step : a_step * (step + 1)]
        assert_mini_batches_follow_eq_9([batch["data"]], own, rows, model, beta=beta, clip=clip, dual_clip=10)


def read_metrics_of_all_lines(folder: Path) -> list[dict]:
    """What verl's SFT trainer logged: of a step a line for the update, and one for its validation."""
    return [json.loads(line)["data"] for line in (folder / "metrics.jsonl").read_text().splitlines()]

"""Every shipped script runs to its end on the embedded default, without a GPU: here those that no other file runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from recorded import read_metrics

TRAINING = ("cppo/math_cppo", "tuning/qwen7b_ppo_least_memory")
OF_A_KIND = (
    *("cppo/gsm8k_grpo", "cppo/math_grpo"),
    *("tuning/qwen05b_ppo", "tuning/qwen7b_ppo", "ppo/math_ppo", "ppo/gsm8k_7b_ppo"),
)
"""Those that start what another script starts, with other values, which `tests/recipes` compares one by one."""
EVALUATION = "cppo/math_eval"
ELSEWHERE = {
    "test_recipes.py": ("cppo/gsm8k_cppo", "cppo/gsm8k_eval"),
    "test_grpo_plus.py": tuple(
        f"grpo_plus/{name}" for name in ("sft", "grpo_baseline", "grpo_plus", "cppo_plus", "eval")
    ),
    "test_ppo.py": ("ppo/gsm8k_ppo",),
    "test_tuning.py": ("tuning/qwen05b_grpo",),
}
"""The file of tests that runs each of the others."""


def test_no_script_is_left_out(repo):
    scripts = {f"{path.parent.name}/{path.stem}" for path in repo.glob("recipe/*/*.sh")}
    assert scripts == {*TRAINING, *OF_A_KIND, EVALUATION, *(name for names in ELSEWHERE.values() for name in names)}


@pytest.mark.parametrize("script", [*TRAINING, *(pytest.param(script, marks=pytest.mark.slow) for script in OF_A_KIND)])
def test_a_training_script(script, runner, toy, tmp_path):
    run = tmp_path / "run"
    runner(["bash", f"recipe/{script}.sh", *small(script, toy, run)], run)
    steps = read_metrics(run)
    assert list(steps) == [1, 2]
    assert all(math.isfinite(step["actor/grad_norm"]) and step["cppo/completions_kept"] for step in steps.values())
    assert all(math.isfinite(step.get("critic/vf_loss", 0)) for step in steps.values())
    assert ("critic/vf_loss" in steps[2]) == ("ppo" in script.split("_"))


@pytest.mark.parametrize("script", OF_A_KIND)
def test_a_script_of_a_kind_is_planned(script, runner, toy, tmp_path):
    """All that is checked before Ray starts."""
    options = *small(script, toy, tmp_path / "run"), "dry_run=true"
    planned = runner(["bash", f"recipe/{script}.sh", *options], tmp_path / "log")
    assert "completions sampled per step" in planned.output
    assert not (tmp_path / "run").exists()


def small(script: str, toy: Path, run: Path) -> tuple[str, ...]:
    """Two steps of a script on the embedded default."""
    questions = 8 if script.startswith("ppo/") else 4  # PPO has G = 1 and micro-batches of 8
    return (
        *("device=cpu", f"actor_rollout_ref.model.path={toy}/model", f"trainer.default_local_dir={run}"),
        *(f"data.train_files={toy}/train.parquet", f"data.val_files={toy}/validation.parquet"),
        *("data.max_prompt_length=64", "data.max_response_length=32", "data.filter_overlong_prompts=false"),
        *(f"data.train_batch_size={questions}", f"actor_rollout_ref.actor.ppo_mini_batch_size={questions}"),
        *("trainer.total_training_steps=2", "trainer.val_before_train=false", "trainer.test_freq=-1"),
    )


def test_an_evaluation_script(runner, toy, tmp_path):
    options = ("device=cpu", f"model={toy}/model", f"+files.math500={toy}/test.parquet", f"out={tmp_path}/out")
    runner(["bash", f"recipe/{EVALUATION}.sh", *options, "limit=4", "sampling.max_tokens=16"], tmp_path / "log")
    (results,) = (tmp_path / "out").rglob("results.json")
    assert json.loads(results.read_text())["benchmarks"]["math500"]["questions"] == 4

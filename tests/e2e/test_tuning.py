"""The tuning script of GRPO with two completions a question, without a GPU, and the report's throughput and memory."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
from recorded import read_metrics


def test_grpo_with_two_completions(runner, toy, tmp_path):
    run = tmp_path / "run"
    options = (
        "device=cpu",
        f"actor_rollout_ref.model.path={toy}/model",
        *(f"data.train_files={toy}/train.parquet", f"data.val_files={toy}/validation.parquet"),
        *("data.max_prompt_length=64", "data.max_response_length=32", "data.filter_overlong_prompts=false"),
        *("data.train_batch_size=8", "actor_rollout_ref.actor.ppo_mini_batch_size=4"),
        *("trainer.total_training_steps=2", "trainer.test_freq=-1", f"trainer.default_local_dir={run}"),
    )
    trained = runner(["bash", "recipe/tuning/qwen05b_grpo.sh", *options], run)
    assert "GRPO: 8 questions x G=2 = 16 completions sampled per step, k=2" in trained.output
    steps = read_metrics(run)
    assert list(steps) == [1, 2]

    runner([sys.executable, "-m", "cppo_verl", "report", str(run), "--out", str(tmp_path / "report")], tmp_path / "log")
    (row,) = pd.read_csv(tmp_path / "report/results.csv").to_dict("records")
    seconds = [step["timing_s/step"] for step in steps.values()]
    tokens = sum(step["perf/total_num_tokens"] for step in steps.values())
    assert row["tokens/s"] == pytest.approx(tokens / sum(seconds))
    assert row["memory"] == max(step["actor/perf/max_memory_allocated_gb"] for step in steps.values())
    assert 0.3 < row["memory"] < 5, "GiB of the trainer's process, most of it libraries"
    assert "| tokens/s | memory (GiB) |" in (tmp_path / "report/report.md").read_text()

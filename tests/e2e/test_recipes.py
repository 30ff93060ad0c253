"""The shipped scripts on GSM8K rows (the embedded default's, where the data sets are missing), without a GPU."""

from __future__ import annotations

import json
import sys

from recorded import read_metrics


def test_gsm8k_scripts(runner, gsm8k, toy, tmp_path):
    """Prepare, train, evaluate the checkpoint."""
    data = tmp_path / "gsm8k"
    prepare = [sys.executable, "examples/data_preprocess/gsm8k.py", "--local_dir", str(data)]
    runner([*prepare, "--source", str(gsm8k)], tmp_path / "prepare")
    common = (
        "device=cpu",
        f"actor_rollout_ref.model.path={toy}/model",
        f"data.train_files={data}/train.parquet",
        f"data.val_files={data}/test.parquet",
        "data.val_max_samples=8",
        "data.max_prompt_length=960",
        "data.max_response_length=32",
        "data.filter_overlong_prompts=false",
    )
    small = (
        "data.train_batch_size=2",
        "actor_rollout_ref.actor.ppo_mini_batch_size=2",
        "actor_rollout_ref.rollout.n=4",
        "trainer.save_freq=1",
        "trainer.val_before_train=false",
    )

    run = tmp_path / "run"

    options = (*small, f"trainer.default_local_dir={run}", "trainer.total_training_steps=2")
    train = runner(["bash", "recipe/cppo/gsm8k_cppo.sh", *common, *options], run)
    assert "CPPO (P=0.75, prunes the smallest): 8 questions x G=4 = 32 completions sampled" in train.output
    steps = read_metrics(run)
    assert list(steps) == [1, 2]
    assert all((step["cppo/completions_sampled"], step["cppo/completions_kept"]) == (32, 8) for step in steps.values())

    evaluation = (f"model={run}", f"+files.gsm8k={data}/test.parquet", "limit=8", "sampling.max_tokens=32")
    runner(["bash", "recipe/cppo/gsm8k_eval.sh", "device=cpu", *evaluation], tmp_path / "eval")
    results = json.loads((run / "eval/global_step_2/gsm8k/results.json").read_text())
    assert results["benchmarks"]["gsm8k"]["questions"] == 8

"""The shipped scripts on real GSM8K rows, without a GPU."""

from __future__ import annotations

import json
import re
import sys


def test_gsm8k_scripts(runner, repo, shared_data, toy, tmp_path):
    """Prepare, train with CPPO for a step, evaluate the checkpoint: the commands of the README."""
    data = tmp_path / "gsm8k"
    prepare = [sys.executable, "examples/data_preprocess/gsm8k.py", "--local_dir", str(data)]
    runner([*prepare, "--source", str(shared_data / "gsm8k")], tmp_path / "prepare")
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
        "trainer.total_training_steps=1",
        "trainer.save_freq=1",
        "trainer.val_before_train=false",
        f"trainer.default_local_dir={tmp_path}/run",
    )
    run = runner(["bash", "recipe/cppo/gsm8k_cppo.sh", *common, *small], tmp_path / "run")
    assert "CPPO (P=0.75, prunes the smallest): 8 questions x G=4 = 32 completions sampled" in run.output
    (line,) = (run.folder / "metrics.jsonl").read_text().splitlines()
    step = json.loads(line)["data"]
    assert (step["cppo/completions_sampled"], step["cppo/completions_kept"]) == (32, 8)

    checkpoint = (f"checkpoint={tmp_path}/run", f"trainer.default_local_dir={tmp_path}/eval")
    evaluated = runner(["bash", "recipe/cppo/gsm8k_eval.sh", *common, *checkpoint], tmp_path / "eval")
    accuracy = re.search(r"accuracy on openai/gsm8k: (\d+\.\d\d) %", evaluated.output)
    assert accuracy and 0 <= float(accuracy[1]) <= 100

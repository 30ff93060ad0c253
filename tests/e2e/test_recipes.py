"""The shipped scripts on GSM8K rows (the embedded default's, where the data sets are missing), without a GPU."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen


def test_gsm8k_scripts(runner, gsm8k, toy, tmp_path):
    """Prepare, train, lose the rollout engine, go on, train on two ranks, evaluate the checkpoint."""
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

    def train(name: str, *overrides: str, **kwargs) -> dict[int, dict]:
        folder = tmp_path / name
        command = ["bash", "recipe/cppo/gsm8k_cppo.sh", *common, *small, f"trainer.default_local_dir={folder}"]
        runner([*command, *overrides], folder, **kwargs)
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return {line["step"]: line["data"] for line in lines}

    killed = kill_engine_after_a_step(runner, tmp_path / "one")
    one_rank = train("one", "trainer.total_training_steps=500", meanwhile=killed, ok=False)
    assert "CPPO (P=0.75, prunes the smallest): 8 questions x G=4 = 32 completions sampled" in output(tmp_path / "one")
    assert (one_rank[1]["cppo/completions_sampled"], one_rank[1]["cppo/completions_kept"]) == (32, 8)
    assert "EngineDead" in output(tmp_path / "one") or "the rollout engine at" in output(tmp_path / "one")

    last = int((tmp_path / "one/latest_checkpointed_iteration.txt").read_text())
    resumed = train("one", f"trainer.total_training_steps={last + 1}")
    assert f"Setting global step to {last}" in output(tmp_path / "one")
    assert list(resumed) == list(range(1, last + 2))

    two_ranks = ("trainer.n_gpus_per_node=2", "cppo.allocation=false", "cppo.zero_variance=drop")
    (step,) = train("two", *two_ranks, "trainer.total_training_steps=1").values()
    useful = step["cppo/questions"] - step["cppo/zero_variance_questions"]
    assert step["cppo/completions_kept"] <= min(useful, 2) and step["cppo/rounds"] >= 1

    evaluation = (f"model={tmp_path}/two", f"+files.gsm8k={data}/test.parquet", "limit=8", "sampling.max_tokens=32")
    runner(["bash", "recipe/cppo/gsm8k_eval.sh", "device=cpu", *evaluation], tmp_path / "eval")
    results = json.loads((tmp_path / "two/eval/global_step_1/gsm8k/results.json").read_text())
    assert results["benchmarks"]["gsm8k"]["questions"] == 8


def kill_engine_after_a_step(runner, folder: Path) -> Callable[[Popen], None]:
    """SIGKILL to vLLM's processes in mid-training; the run must end by itself, and not with success."""

    def kill(run: Popen) -> None:
        metrics = folder / "metrics.jsonl"
        while run.poll() is None and not (metrics.exists() and metrics.read_bytes()):
            time.sleep(0.2)
        for process in runner.processes():
            if process.name().startswith("VLLM::"):
                process.kill()
        start = time.monotonic()
        assert run.wait(timeout=240) != 0
        print(f"ended {time.monotonic() - start:.0f} s after the engine was killed")

    return kill


def output(folder: Path) -> str:
    """What the run in `folder` printed."""
    return (folder / "output.log").read_text(errors="replace")

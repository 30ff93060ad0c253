"""The shipped scripts on GSM8K rows (the embedded default's, where the data sets are missing), without a GPU."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

from recorded import read_metrics


def test_gsm8k_scripts(runner, gsm8k, toy, tmp_path):
    """Prepare, train, lose the rollout engine, go on with other options, evaluate the checkpoint."""
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

    def train(*overrides: str, **kwargs) -> dict[int, dict]:
        command = ["bash", "recipe/cppo/gsm8k_cppo.sh", *common, *small, f"trainer.default_local_dir={run}"]
        runner([*command, *overrides], run, **kwargs)
        return read_metrics(run)

    killed = kill_engine_after_a_step(runner, run)
    steps = train("trainer.total_training_steps=500", meanwhile=killed, ok=False)
    assert "CPPO (P=0.75, prunes the smallest): 8 questions x G=4 = 32 completions sampled" in output(run)
    assert (steps[1]["cppo/completions_sampled"], steps[1]["cppo/completions_kept"]) == (32, 8)
    assert "EngineDead" in output(run) or "the rollout engine at" in output(run)

    last = int((run / "latest_checkpointed_iteration.txt").read_text())
    steps = train("cppo.allocation=false", "cppo.zero_variance=drop", f"trainer.total_training_steps={last + 1}")
    assert f"Setting global step to {last}" in output(run)
    assert list(steps) == list(range(1, last + 2))
    step = steps[last + 1]
    useful = step["cppo/questions"] - step["cppo/zero_variance_questions"]
    assert step["cppo/completions_kept"] <= min(useful, 2) and step["cppo/rounds"] >= 1

    evaluation = (f"model={run}", f"+files.gsm8k={data}/test.parquet", "limit=8", "sampling.max_tokens=32")
    runner(["bash", "recipe/cppo/gsm8k_eval.sh", "device=cpu", *evaluation], tmp_path / "eval")
    results = json.loads((run / f"eval/global_step_{last + 1}/gsm8k/results.json").read_text())
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

"""The shipped scripts on GSM8K rows (the embedded default's, where the data sets are missing), without a GPU."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

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
    asked = {}
    train = runner(["bash", "recipe/cppo/gsm8k_cppo.sh", *common, *options], run, meanwhile=ask_engine(run, asked))
    assert "CPPO (P=0.75, prunes the smallest): 8 questions x G=4 = 32 completions sampled" in train.output
    steps = read_metrics(run)
    assert list(steps) == [1, 2]
    assert asked == {"/health": 200, "/v1/models": 401}
    assert all((step["cppo/completions_sampled"], step["cppo/completions_kept"]) == (32, 8) for step in steps.values())

    evaluation = (f"model={run}", f"+files.gsm8k={data}/test.parquet", "limit=8", "sampling.max_tokens=32")
    runner(["bash", "recipe/cppo/gsm8k_eval.sh", "device=cpu", *evaluation], tmp_path / "eval")
    results = json.loads((run / "eval/global_step_2/gsm8k/results.json").read_text())
    assert results["benchmarks"]["gsm8k"]["questions"] == 8


def ask_engine(folder: Path, asked: dict[str, int]) -> Callable[[Popen], None]:
    """What the engine's server answers to who has no key, once the run has made a step; by path."""

    def ask(run: Popen) -> None:
        while run.poll() is None and not (folder / "metrics.jsonl").exists():
            time.sleep(0.2)
        address = re.search(r"LLMServerManager: \['([^']+)'", (folder / "log.txt").read_text(errors="replace"))[1]
        for path in ("/health", "/v1/models"):
            try:
                asked[path] = build_opener(ProxyHandler({})).open(f"http://{address}{path}", timeout=60).status
            except HTTPError as error:
                asked[path] = error.code

    return ask

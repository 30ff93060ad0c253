"""`scripts/gpu_smoke.sh` to its end without a GPU, on the small geometry."""

from __future__ import annotations

import json

import pytest
from recorded import read_metrics


@pytest.mark.slow
def test_every_step_of_the_smoke_script(runner, tmp_path):
    out = tmp_path / "out"
    bench = (
        "--short --rates 0.5 --rounds 1 --steps 2 data.train_batch_size=4 actor_rollout_ref.actor.ppo_mini_batch_size=4"
    )
    env = {"DEVICE": "cpu", "GEOMETRY": "small", "BUDGET": "1700", "BENCH": bench}
    runner(["bash", "scripts/gpu_smoke.sh", str(out)], tmp_path / "log", env=env, limit_s=1800)
    rows = [line.split("\t") for line in (out / "steps.tsv").read_text().splitlines()]
    steps = ["facts", "inputs", "grpo", "cppo", "eval", "bench", "report", "skip_old", "v1_sync"]
    assert [row[:2] for row in rows] == [[step, "ok"] for step in steps]
    for run in ("grpo", "cppo", "skip_old", "v1_sync"):
        assert list(read_metrics(out / run)) == [1, 2, 3]
    assert [arm["arm"] for arm in json.loads((out / "bench/bench.json").read_text())["arms"]] == ["GRPO", "P=0.5"]
    (results,) = (out / "cppo/eval").rglob("results.json")
    assert json.loads(results.read_text())["benchmarks"]["gsm8k"]["questions"] == 64
    assert (out / "report/report.md").is_file() and (out / "results.tgz").is_file()

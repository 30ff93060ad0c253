"""A study: several runs on one start of the stack."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cppo_verl.algorithm.metrics import validation_accuracy


def test_a_study_on_one_start(evaluate, runner, toy, tmp_path):
    """Its runs do not see each other: the first arm once more after the second is the same run again.

    The greedy accuracy of the model that they start from is the one that `evaluate` finds: the same questions,
    prompts and scoring.
    """
    (tmp_path / "study.yaml").write_text(STUDY)
    own = (f"data.train_files={toy}/train.parquet", f"data.val_files={toy}/test.parquet")
    model = (f"actor_rollout_ref.model.path={toy}/model", "actor_rollout_ref.rollout.n=4", "device=cpu")
    options = ("--seeds", "1", "--questions", "16", "--out", str(tmp_path / "study"))
    command = [sys.executable, "-m", "cppo_verl", "study", str(tmp_path / "study.yaml"), *options, "recipe=toy"]
    command += [*own, *model]
    runner(command, tmp_path / "log")
    assert len(list((tmp_path / "study").glob("*.log"))) == 1, "one start for all of them"
    once, again = (steps(tmp_path / f"study/{arm}_seed1") for arm in ("once", "again"))
    assert len(once) == 3 and once == again
    assert (tmp_path / "study/report/report.md").is_file()

    accuracy = json.loads((evaluate("greedy") / "results.json").read_text())["benchmarks"]["toy"]["accuracy"]
    assert validation_accuracy(once[0]) == accuracy

    second = runner(command, tmp_path / "log")
    assert "3 of 3 runs are complete" in second.output


STUDY = """
arms:
  once: [cppo.pruning_rate=0.5, cppo.allocation=false]
  between: [cppo.pruning_rate=0.5]
  again: [cppo.pruning_rate=0.5, cppo.allocation=false]
"""


def steps(run: Path) -> list[dict]:
    """What a run logged, without what depends on the clock or on the machine's memory."""
    entries = [json.loads(line)["data"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in data.items() if "timing" not in k and "perf/" not in k} for data in entries]

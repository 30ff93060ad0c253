"""The evaluation through vLLM: the same twice, the same after a kill, the same as the trainer's validation."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from subprocess import Popen

import pytest

from cppo_verl.metrics import validation_accuracy


@pytest.fixture
def evaluate(runner, toy, tmp_path):
    """`evaluate("name", "key=value", ...)`: an evaluation of the embedded default; returns its folder."""

    def start(name: str, *overrides: str, **kwargs) -> Path:
        command = [sys.executable, "-m", "cppo_verl.evaluate", "device=cpu", "benchmarks=[toy]"]
        own = (f"+files.toy={toy}/test.parquet", f"model={toy}/model", f"out={tmp_path}/{name}")
        runner([*command, "sampling.max_tokens=64", *own, *overrides], tmp_path / f"{name}_log", **kwargs)
        return tmp_path / name

    return start


def test_a_killed_evaluation_goes_on_to_the_same_results(evaluate):
    """64 samples of 16 questions: in one go, and with SIGKILL after the first that were written."""
    sampled = ("sampling.samples=64", "sampling.temperature=1")
    whole = evaluate("whole", *sampled)

    def kill(process: Popen) -> None:
        generations = whole.parent / "killed/generations.jsonl"
        while process.poll() is None and not (generations.is_file() and generations.read_bytes()):
            time.sleep(0.01)
        process.kill()

    killed = evaluate("killed", *sampled, meanwhile=kill, ok=False)
    assert 0 < len(lines(killed)) < 1024 == len(lines(whole))
    assert not (killed / "results.json").exists()
    evaluate("killed", *sampled)
    assert (killed / "results.json").read_bytes() == (whole / "results.json").read_bytes()
    assert sorted(lines(killed)) == sorted(lines(whole))
    result = json.loads((whole / "results.json").read_text())["benchmarks"]["toy"]
    assert result["accuracy"] <= result["pass@2"] <= result["pass@64"]


@pytest.mark.xdist_group("ray")
def test_a_study_on_one_start(evaluate, runner, toy, tmp_path):
    """Its runs do not see each other: the first arm once more after the second is the same run again.

    The greedy accuracy of the model that they start from is the one that `evaluate` finds: the same questions,
    prompts and scoring.
    """
    (tmp_path / "study.yaml").write_text(STUDY)
    own = (f"data.train_files={toy}/train.parquet", f"data.val_files={toy}/test.parquet")
    model = (f"actor_rollout_ref.model.path={toy}/model", "actor_rollout_ref.rollout.n=4", "device=cpu")
    options = ("--seeds", "1", "--questions", "8", "--out", str(tmp_path / "study"))
    command = [sys.executable, "-m", "cppo_verl.ablate", str(tmp_path / "study.yaml"), *options, "recipe=toy"]
    command += ["actor_rollout_ref.actor.optim.lr_warmup_steps=0", *own, *model]
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


def lines(folder: Path) -> list[str]:
    """The generations, in the order in which they finished."""
    return (folder / "generations.jsonl").read_text().splitlines()

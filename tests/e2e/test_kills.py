"""SIGKILL to every part of a run at every stage of a step: the same command goes on as if nothing had happened.

The whole table takes an hour and is run by hand: `pytest -m kills tests/e2e/test_kills.py -s`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import psutil
import pytest
from recorded import different, read_metrics, weights
from runs import Runner, running, trainer

STEPS = ("trainer.total_training_steps=6", "trainer.save_freq=2", "cppo.pruning_rate=0.5")
LAST, KILLED = 6, 4
"""Steps of a run, and the one in which it is killed."""
CALLS, BEFORE_OPTIMIZER = 7, 3
"""Calls that a worker writes down in a step: old, ref, update, and 2 mini-batches x 2 epochs of optimizer steps."""

VICTIMS = {
    "driver": "instrumented.py",
    "trainer": "ray::InstrumentedRunner",
    "worker": "ray::WorkerDict",
    "vLLM's server": "ray::vLLMHttpServer",
    "vLLM's engine": "VLLM::EngineCore",
    "Ray's raylet": "raylet/raylet",
}
"""Who is killed, to a part of its command line."""


def in_generation(folder: Path) -> bool:
    return steps_logged(folder) == KILLED - 1


def in_update(folder: Path) -> bool:
    return sum(1 for _ in (folder / "calls/rank_0").glob("*.pt")) >= CALLS * (KILLED - 1) + BEFORE_OPTIMIZER


def in_checkpoint(folder: Path) -> bool:
    return any((folder / f"global_step_{KILLED}").rglob("*.pt"))


MOMENTS = {"generation": in_generation, "update": in_update, "checkpoint": in_checkpoint}


@pytest.fixture(scope="module")
def undisturbed(repo, toy, tmp_path_factory) -> Path:
    """The folder of the run that nobody kills."""
    with running(repo) as runner:
        return trainer(runner, toy, tmp_path_factory.mktemp("kills"))("undisturbed", *STEPS).folder


@pytest.mark.kills
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_and_started_again(victim, moment, undisturbed, runner, train, tmp_path):
    folder, said = tmp_path / "run", {}

    def kill(process: Popen) -> None:
        while process.poll() is None and not MOMENTS[moment](folder):
            time.sleep(0.005)
        for found in find(runner, VICTIMS[victim]):
            found.kill()
        start = time.monotonic()
        process.wait(timeout=180)
        said["seconds"] = time.monotonic() - start

    killed = train("run", *STEPS, meanwhile=kill, ok=False)
    assert killed.returncode != 0
    left = runner.end()
    kept = max((step for step in range(LAST + 1) if (folder / f"global_step_{step}/complete.json").exists()), default=0)
    again = train("run", *STEPS)
    assert f"Setting global step to {kept}" in again.output
    assert list(read_metrics(folder)) == list(range(1, LAST + 1))
    assert not different(weights(undisturbed, LAST), weights(folder, LAST))
    print(f"\n| {victim} | {moment} | {said['seconds']:.0f} s | step {kept} | {len(left)} |")
    assert not left, f"left running ten seconds after the run's end: {left}"


def find(runner: Runner, part: str) -> Iterator[psutil.Process]:
    """The run's processes with `part` in their command line."""
    return (process for process in runner.processes() if part in " ".join(process.cmdline()))


def steps_logged(folder: Path) -> int:
    metrics = folder / "metrics.jsonl"
    return metrics.read_bytes().count(b'"training/global_step"') if metrics.is_file() else 0

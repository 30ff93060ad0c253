"""SIGKILL to a part of a run at each stage of a step, the same command again each time: as if nothing had happened.

A table takes an hour and is run by hand: `pytest -m kills tests/e2e/test_kills.py -s -k V0`, or `-k V1`.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import psutil
import pytest
from recorded import different, read_metrics, weights
from runs import Run, Runner, running, trainer

LAST = 11
STEPS = (
    f"trainer.total_training_steps={LAST}",
    *("trainer.total_epochs=2", "trainer.save_freq=2", "cppo.pruning_rate=0.5"),
)
CALLS, BEFORE_OPTIMIZER = 7, 3
"""Calls that a worker writes down in a step: old, ref, update, and 2 mini-batches x 2 epochs of optimizer steps."""

VICTIMS = {
    "driver": "instrumented.py",
    "trainer": "ray::InstrumentedRunner",
    "worker": "ray::WorkerDict",
    "vLLM's server": "ray::GroupServer",
    "vLLM's engine": "VLLM::EngineCore",
    "load balancer": "ray::GlobalRequestLoadBalancer",
    "agent loop": "ray::CPPOAgentLoopWorker",
    "reward worker": "ray::RewardLoopWorker",
    "Ray's raylet": "raylet/raylet",
}
"""Who is killed, to a part of its command line."""
OF_V1 = {
    "queue's controller": "ray::TransferQueueController",
    "queue's storage": "ray::SimpleStorageUnit",
}
"""Who is there on V1 alone."""


def in_generation(folder: Path, step: int, since: int) -> bool:
    return steps_logged(folder) == step - 1


def in_update(folder: Path, step: int, since: int) -> bool:
    return sum(1 for _ in (folder / "calls/rank_0").glob("*.pt")) >= CALLS * (step - 1 - since) + BEFORE_OPTIMIZER


def in_checkpoint(folder: Path, step: int, since: int) -> bool:
    return any((folder / f"global_step_{step}").rglob("*.pt"))


def in_weight_sync(folder: Path, step: int, since: int) -> bool:
    return (folder / f"global_step_{step}/complete.json").exists()


MOMENTS = [
    ("generation", 4, in_generation),
    ("update", 6, in_update),
    ("checkpoint", 8, in_checkpoint),
    ("weight sync", 10, in_weight_sync),
]
"""When a start is killed: the stage, the step, and how that is seen of a start that goes on after step `since`."""


@pytest.fixture(scope="module", params=["V0", "V1"])
def options(request) -> tuple[str, ...]:
    """Of the runs: which of verl's trainers, besides the steps."""
    return (*STEPS, f"trainer.use_v1={request.param == 'V1'}")


@pytest.fixture(scope="module")
def undisturbed(repo, toy, options, tmp_path_factory) -> Path:
    """The folder of the run that nobody kills."""
    with running(repo) as runner:
        return trainer(runner, toy, tmp_path_factory.mktemp("kills"))("undisturbed", *options).folder


@pytest.mark.kills
@pytest.mark.parametrize("victim", [*VICTIMS, *OF_V1])
def test_killed_and_started_again(victim, options, undisturbed, runner, train, tmp_path):
    if victim in OF_V1 and "trainer.use_v1=True" not in options:
        pytest.skip("V0 has no queue")
    folder, kept, left = tmp_path / "run", 0, []
    for moment, step, is_reached in MOMENTS:
        kill = Kill(runner, (VICTIMS | OF_V1)[victim], folder, step, kept, is_reached)
        killed = train("run", *options, meanwhile=kill, ok=False)
        assert killed.returncode != 0
        assert goes_on_after(kept, killed) or not kept
        stray, kept = runner.end(), last_complete(folder)
        left += stray
        print(
            f"\n| {victim} | {moment} of step {step} | {kill.seconds:.0f} s | step {kept} | {len(stray)} |", flush=True
        )
        assert step - 2 <= kept <= step
    again = train("run", *options)
    assert goes_on_after(kept, again)
    assert list(read_metrics(folder)) == list(range(1, LAST + 1))
    assert not different(weights(undisturbed, LAST), weights(folder, LAST))
    assert not left, f"left running after a start: {left}"


@pytest.mark.kills
def test_a_finished_run_is_not_trained_on(options, undisturbed, train, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "run")
    again = train("run", *options)
    assert list(read_metrics(again.folder)) == list(range(1, LAST + 1))
    assert last_complete(again.folder) == LAST
    assert not different(weights(undisturbed, LAST), weights(again.folder, LAST))


@pytest.mark.kills
def test_killed_while_the_critic_is_saved(repo, runner, train, tmp_path):
    """With a limit to what is kept, which verl would keep to before the new checkpoint is complete."""
    ppo = (
        *(f"hydra.searchpath=[pkg://verl.trainer.config,file://{repo}/recipe/ppo/config]", "recipe=ppo_gsm8k"),
        *("trainer.total_training_steps=4", "trainer.test_freq=-1", "trainer.save_freq=2", "trainer.total_epochs=2"),
        *("trainer.max_actor_ckpt_to_keep=1", "trainer.max_critic_ckpt_to_keep=1", "actor_rollout_ref.rollout.n=1"),
        *("data.max_prompt_length=64", "data.max_response_length=64", "data.filter_overlong_prompts=false"),
        *("data.train_batch_size=8", "actor_rollout_ref.actor.ppo_mini_batch_size=4"),
        "reward.custom_reward_function.path=pkg://cppo_verl.rewards.gsm8k",
    )
    folder = tmp_path / "run"
    kill = Kill(runner, VICTIMS["trainer"], folder, 4, 0, in_critics_checkpoint)
    assert train("run", *ppo, meanwhile=kill, ok=False).returncode != 0
    assert not runner.end() and last_complete(folder) == 2
    assert goes_on_after(2, train("run", *ppo))
    assert list(read_metrics(folder)) == [1, 2, 3, 4] and last_complete(folder) == 4


def in_critics_checkpoint(folder: Path, step: int, since: int) -> bool:
    return any((folder / f"global_step_{step}/critic").rglob("*.pt"))


@dataclass
class Kill:
    """Kills a part of a run when a stage is reached, and waits for the run's end."""

    runner: Runner
    part: str
    folder: Path
    step: int
    since: int
    is_reached: Callable[[Path, int, int], bool]
    seconds: float = math.nan

    def __call__(self, process: Popen) -> None:
        while process.poll() is None and not self.is_reached(self.folder, self.step, self.since):
            time.sleep(0.005)
        for found in find(self.runner, self.part):
            found.kill()
        start = time.monotonic()
        process.wait(timeout=180)
        self.seconds = time.monotonic() - start
        shutil.rmtree(self.folder / "calls", ignore_errors=True)  # a start counts its own


def find(runner: Runner, part: str) -> list[psutil.Process]:
    """The run's processes with `part` in their command line."""
    found = []
    for process in runner.processes():
        with suppress(psutil.NoSuchProcess):
            if part in " ".join(process.cmdline()):
                found.append(process)
    return found


def goes_on_after(step: int, run: Run) -> bool:
    """Whether a start took up a run after this step, as verl's two trainers say it."""
    return f"setting global step to {step}\n" in run.output.lower()


def last_complete(folder: Path) -> int:
    return max((step for step in range(LAST + 2) if (folder / f"global_step_{step}/complete.json").exists()), default=0)


def steps_logged(folder: Path) -> int:
    metrics = folder / "metrics.jsonl"
    return metrics.read_bytes().count(b'"training/global_step"') if metrics.is_file() else 0

"""What a run needs is taken from it: it ends by itself, says why, and leaves nothing running and its checkpoint whole.

Half an hour, run by hand: `pytest -m 'slow or kills' tests/e2e/test_endings.py -s`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import psutil
import pytest
from cluster import two_nodes
from recorded import weights
from runs import Run, Runner

from cppo_verl.runs.checkpoints import Checkpoints

STEPS = ("trainer.total_training_steps=200", "trainer.total_epochs=200", "trainer.save_freq=2")
SAVED = 2
"""The step after which the fault comes."""
REWARD = """
import re, time
from pathlib import Path

def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    if Path("{flag}").exists():
        {fault}
    return float(hash(solution_str) % 2)
"""
FAULTS_OF_A_REWARD = {
    "sleeps": "time.sleep(10**6)",
    "holds the interpreter's lock": "re.match(r'(a+)+$', 'a' * 60 + 'b')",
    "takes all memory": "kept = [bytearray(b'x' * 2**28) for _ in range(200) if not time.sleep(0.3)]",
}

pytestmark = pytest.mark.kills


@pytest.fixture
def prefork() -> None:
    """None: processes are found by their names and killed, each one that Ray itself started."""


@pytest.fixture
def ends(runner, train, tmp_path) -> Callable[..., Run]:
    """`ends("sentence", fault, "key=value", ...)`: a run that `fault(process)` befalls after `SAVED` steps."""

    def ends(
        sentence: str,
        fault: Callable[[Popen], None],
        *overrides: str,
        code: int = 1,
        folder: Path = tmp_path / "run",
        **kwargs,
    ) -> Run:
        said = {}

        def befall(process: Popen) -> None:
            while process.poll() is None and not (folder / f"global_step_{SAVED}/complete.json").exists():
                time.sleep(0.1)
            fault(process)
            start = time.monotonic()
            process.wait(timeout=300)
            said["seconds"] = time.monotonic() - start

        own = (*STEPS, f"trainer.default_local_dir={folder}", *overrides)
        run = train("run", *own, meanwhile=befall, ok=False, **kwargs)
        last_line = run.output.rstrip().splitlines()[-1]
        print(f"\n| {said['seconds']:.0f} s | {run.returncode} | {last_line}")
        left = runner.end()
        assert run.returncode == code
        assert re.search(sentence, last_line), run.output[-5000:]
        assert re.search(r"goes on after step \d+$", last_line)
        assert Checkpoints(folder).last_complete() and weights(folder, SAVED)
        assert not left, f"left running after the run: {left}"
        return run

    return ends


@pytest.mark.parametrize("fault", ["sleeps", "holds the interpreter's lock"])
def test_a_reward_function_that_hangs(fault, ends, tmp_path):
    flag = tmp_path / "flag"
    ends("no reward has come back for 20 s", lambda _: flag.touch(), *reward(fault, flag), "cppo.reward_timeout=20")


def test_a_reward_worker_that_hangs(ends, runner):
    def stop(_: Popen) -> None:
        one(runner, "ray::RewardLoopWorker").suspend()

    ends("no reward has come back for 20 s", stop, "cppo.reward_timeout=20")


def test_a_reward_worker_that_is_killed(ends, runner):
    ends("a process of the run has died.*RewardLoopWorker", lambda _: one(runner, "ray::RewardLoopWorker").kill())


def test_a_worker_for_which_memory_runs_out(ends, tmp_path):
    """Ray ends it when 12 GiB more of the machine's memory are in use than at the start."""
    memory, flag = psutil.virtual_memory(), tmp_path / "flag"
    limit = 1 - (memory.available - 12 * 2**30) / memory.total
    if limit > 0.9:
        pytest.skip("needs 12 GiB of free memory, and a tenth of all of it beside them")
    env = {"RAY_memory_usage_threshold": f"{limit:.3f}", "RAY_memory_monitor_refresh_ms": "100"}
    ends("memory ran out", lambda _: flag.touch(), *reward("takes all memory", flag), env=env)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid(), reason="needs root, to mount a small file system")
def test_a_disk_that_is_full(ends, tmp_path):
    """The file system holds the first checkpoint, and not the second; what the tests write down is elsewhere."""
    folder, calls = tmp_path / "small", tmp_path / "calls"
    folder.mkdir()
    calls.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(folder)], check=True)
    (folder / "calls").symlink_to(calls)
    try:
        ends("the disk is full: the checkpoint", lambda _: fill(folder), folder=folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("to_all", [False, True], ids=["to the driver", "to every process"])
def test_ctrl_c(to_all, ends):
    def interrupt(process: Popen) -> None:
        os.killpg(process.pid, signal.SIGINT) if to_all else process.send_signal(signal.SIGINT)

    ends("^interrupted", interrupt, code=130)


def test_sigterm(ends):
    """What a cluster's scheduler sends before it ends a job."""
    ends("^ended by SIGTERM", Popen.terminate, code=143)


def test_a_node_of_the_cluster_that_is_lost(ends, repo, tmp_path):
    """Two nodes of one rank each, both on this machine; the second one's raylet is killed."""
    with two_nodes(repo, tmp_path) as cluster:
        nodes = ("trainer.nnodes=2", "trainer.n_gpus_per_node=1")
        said = "a node of the Ray cluster is lost|its whole node, is lost|the node that it ran on, is lost"
        ends(said, lambda _: cluster.second.kill(), *nodes, env=cluster.env)
        time.sleep(10)
        actors = [process.name() for process in cluster.runner.processes() if "ray::" in process.name()]
        assert not [name for name in actors if "IDLE" not in name]


def reward(fault: str, flag: Path) -> tuple[str, ...]:
    """A reward function that does this once `flag` is there."""
    file = flag.with_name("reward.py")
    file.write_text(REWARD.format(flag=flag, fault=FAULTS_OF_A_REWARD[fault]))
    return (f"reward.custom_reward_function.path={file}", "reward.custom_reward_function.name=compute_score")


def one(runner: Runner, title: str) -> psutil.Process:
    """The run's process of this title."""
    return next(process for process in runner.processes() if title in " ".join(process.cmdline()))


def fill(folder: Path) -> None:
    """Leave a megabyte on the file system."""
    free = psutil.disk_usage(str(folder)).free
    (folder / "filler").write_bytes(b"x" * max(free - 2**20, 0))

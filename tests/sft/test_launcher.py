"""No rank outlives those who started it, and none starts beside one that does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cppo_verl.runs.files import InUse, alone_in
from cppo_verl.sft import launcher
from cppo_verl.sft.launcher import RANK, RANK_LOCK, wait_for_strays
from cppo_verl.sft.orphans import ORPHANED

SLEEPER = """
import os, sys, time
from pathlib import Path
from cppo_verl.sft.orphans import end_with

end_with(os.getppid(), int(sys.argv[2]))
file = Path(sys.argv[1])
file.with_name("part").write_text(str(os.getpid()))
file.with_name("part").rename(file)
time.sleep(600)
"""
STARTER = """
import sys
from pathlib import Path
from cppo_verl.runs.endings import explained, sigterm_interrupts
from cppo_verl.sft.launcher import run_ranks

with explained(Path(sys.argv[1]).parent), sigterm_interrupts():
    sys.exit(run_ranks(Path(sys.argv[1]), 1, {"OMP_NUM_THREADS": "1"}, "sleeper"))
"""


def kill_both(starter: psutil.Process) -> None:
    for process in (starter, *starter.children()):
        process.kill()


@pytest.fixture
def started(repo, tmp_path, monkeypatch):
    """A process that waits for a rank, and the rank, which sleeps."""
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    monkeypatch.setenv("PYTHONPATH", f"{repo}:{tmp_path}")
    command = [sys.executable, "-c", STARTER, str(tmp_path / "rank")]
    starter = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "rank").exists():
        assert starter.poll() is None, starter.stderr.read()
        time.sleep(0.1)
    rank = psutil.Process(int((tmp_path / "rank").read_text()))
    yield starter, rank
    if starter.poll() is None:
        for process in psutil.Process(starter.pid).children(recursive=True):
            process.kill()
        starter.kill()


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        (kill_both, -signal.SIGKILL, ""),
        (psutil.Process.kill, -signal.SIGKILL, ""),
        (psutil.Process.terminate, 143, "ended by SIGTERM. The same command, started again, starts from the beginning"),
    ],
    ids=["launcher and torchrun killed", "launcher killed", "launcher ended"],
)
def test_a_rank_ends_with_those_who_started_it(started, end: Callable, code: int, says: str):
    starter, rank = started
    end(psutil.Process(starter.pid))
    assert starter.wait(timeout=120) == code
    assert not psutil.wait_procs([rank], timeout=120)[1]
    assert says in starter.stderr.read()


def run_rank(config: Path, starter: int) -> subprocess.CompletedProcess:
    """The module that a rank runs, of a config that it never gets to read."""
    os.mkfifo(config)
    command = [sys.executable, "-m", RANK, str(config), str(starter)]
    env = os.environ | {"LOCAL_RANK": "0"}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


def test_a_rank_whose_starter_is_gone_does_not_train(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert run_rank(tmp_path / "config.yaml", gone.pid).returncode == ORPHANED


def test_a_rank_does_not_train_beside_one_of_its_number(tmp_path):
    with alone_in(tmp_path, RANK_LOCK.format(0)):
        ended = run_rank(tmp_path / "config.yaml", os.getpid())
    assert ended.returncode == 1 and "another run writes into" in ended.stderr


def test_nothing_starts_beside_the_rank_of_an_earlier_start(tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "STRAY_SECONDS", 0.1)
    wait_for_strays(tmp_path)
    with (
        alone_in(tmp_path),
        alone_in(tmp_path, RANK_LOCK.format(0)),
        pytest.raises(InUse, match="another run writes into"),
    ):
        wait_for_strays(tmp_path)
    wait_for_strays(tmp_path)

"""Runs of the whole stack, each in a process of its own that leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from cppo_verl.data.prepare import main as prepare
from cppo_verl.quickstart import TOY
from cppo_verl.toy.build import ToySettings, build
from cppo_verl.toy.warmstart import WarmStart

HERE = Path(__file__).parent
MARK = "CPPO_TEST_RUN"
"""Environment variable by which every process of a run is known."""


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("e2e")


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded default, hardly trained: enough for rewards that differ within a question."""
    folder = tmp_path_factory.mktemp("toy")
    build(folder, ToySettings(train=64, test=16, warm_start=WarmStart(steps=80)), Console(quiet=True))
    source = ("--source", str(folder / "raw"), "--no-system-prompt", "--validation", "16")
    prepare(TOY, "", ["--local_dir", str(folder), *source])
    return folder


@pytest.fixture(scope="session")
def gsm8k(data_sets: Path, toy: Path) -> Path:
    """Problems in GSM8K's raw form: the published ones, or the embedded default's where they are missing."""
    return data_sets / "gsm8k" if data_sets.is_dir() else toy / "raw"


@dataclass
class Run:
    """A finished run."""

    folder: Path
    returncode: int
    output: str


@dataclass
class Runner:
    """Starts runs and ends whatever they started."""

    repo: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __call__(
        self, command: Sequence[str], folder: Path, *, meanwhile: Callable | None = None, ok: bool = True
    ) -> Run:
        """Run `command` to its end; `meanwhile` is called with the process while it runs."""
        env = {**os.environ, MARK: self.mark, "PYTHON": sys.executable, "HF_HUB_OFFLINE": "1"}
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "output.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, cwd=self.repo, env=env)
            if meanwhile:
                meanwhile(process)
            returncode = process.wait(timeout=420)
        output = log.read_text(errors="replace")
        assert not ok or returncode == 0, f"{' '.join(map(str, command))}\n{output[-6000:]}"
        return Run(folder, returncode, output)

    def processes(self) -> list[psutil.Process]:
        """Every live process that a run of this runner started, or that those started."""
        return [p for p in psutil.process_iter() if p.pid != os.getpid() and self._is_ours(p)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


@pytest.fixture
def runner(repo: Path) -> Iterator[Runner]:
    """A `Runner`; the test fails if a process of its runs is still there ten seconds after its end."""
    runner = Runner(repo)
    yield runner
    deadline = time.monotonic() + 10
    while (left := runner.processes()) and time.monotonic() < deadline:
        time.sleep(0.5)
    names = [" ".join(process.cmdline()[:4]) for process in left]
    for process in left:
        process.send_signal(signal.SIGKILL)
    assert not names, f"left running: {names}"


@pytest.fixture
def train(runner: Runner, toy: Path, tmp_path: Path) -> Callable[..., Run]:
    """`train("name", "key=value", ...)`: a small run on the embedded default, in `tmp_path/name`."""

    def start(name: str, *overrides: str, script: str = "instrumented.py", **kwargs) -> Run:
        folder = tmp_path / name
        command = [
            *(sys.executable, str(HERE / script)),
            *(f"data.train_files={toy}/train.parquet", f"data.val_files={toy}/validation.parquet"),
            *(f"actor_rollout_ref.model.path={toy}/model", f"trainer.default_local_dir={folder}"),
            *(SMALL + overrides),
        ]
        return runner(command, folder, **kwargs)

    return start


SMALL = (
    "recipe=toy",
    "device=cpu",
    "data.train_batch_size=4",
    "actor_rollout_ref.rollout.n=4",
    "actor_rollout_ref.actor.ppo_mini_batch_size=2",
    "actor_rollout_ref.actor.optim.lr=1e-3",
    "actor_rollout_ref.actor.optim.lr_warmup_steps=0",
    "trainer.total_training_steps=2",
    "trainer.val_before_train=false",
)

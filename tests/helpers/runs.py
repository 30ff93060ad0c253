"""Runs of the whole stack, each in a process of its own that leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from prefork import Prefork

from cppo_verl.watch.screen import LOG_STARTS

MARK = "CPPO_TEST_RUN"
"""Environment variable by which every process of a run is known."""
GRACE_S = 45
"""Seconds that the processes of a run may take to end after it: 2 on an idle machine, over 10 beside other tests."""
INSTRUMENTED = Path(__file__).parents[1] / "e2e/instrumented.py"
SMALL = (
    "recipe=toy",
    "device=cpu",
    "data.train_batch_size=4",
    "actor_rollout_ref.rollout.n=4",
    "actor_rollout_ref.actor.ppo_mini_batch_size=2",
    "actor_rollout_ref.actor.ppo_epochs=2",
    "actor_rollout_ref.actor.optim.lr=1e-3",
    "trainer.total_training_steps=2",
    "trainer.val_before_train=false",
)


@dataclass
class Run:
    """A finished run."""

    folder: Path
    returncode: int
    output: str
    """What its processes printed, also into its `log.txt`, and last the terminal's."""
    terminal: str


@dataclass
class Runner:
    """Starts runs and ends whatever they started."""

    repo: Path
    prefork: Prefork | None = None
    """Where its runs and their workers start as forks, of what."""
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __call__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        meanwhile: Callable | None = None,
        ok: bool = True,
        env: Mapping[str, str] | None = None,
        limit_s: float = 420,
    ) -> Run:
        """Run `command` to its end, in a session of its own; `meanwhile` is called with the process while it runs."""
        python, forked = (self.prefork.python, self.prefork.environment) if self.prefork else (sys.executable, {})
        env = {**os.environ, MARK: self.mark, "PYTHON": str(python), "HF_HUB_OFFLINE": "1", **forked, **(env or {})}
        command = [str(python) if word == sys.executable else word for word in command]
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "output.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                command,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=self.repo,
                env=env,
                start_new_session=True,
                preexec_fn=_hear_ctrl_c,
            )
            if meanwhile:
                meanwhile(process)
            returncode = process.wait(timeout=limit_s)
        terminal = log.read_text(errors="replace")
        output = logged(terminal) + terminal
        assert not ok or returncode == 0, f"{' '.join(map(str, command))}\n{output[-6000:]}"
        return Run(folder, returncode, output, terminal)

    def processes(self) -> list[psutil.Process]:
        """Every live process of this runner's runs, and what those started: forks, not who asked for them."""
        ours = [p for p in psutil.process_iter() if p.pid != os.getpid() and self._is_ours(p)]
        return [self._fork_of(process) for process in ours]

    def end(self, grace_s: float = GRACE_S) -> list[str]:
        """Kill every live process that has not ended within `grace_s`; returns their command lines."""
        deadline = time.monotonic() + grace_s
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.5)
        names = [_command(process) for process in left]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        return names

    def _fork_of(self, process: psutil.Process) -> psutil.Process:
        try:
            return psutil.Process((self.prefork and self.prefork.fork_of(process.pid)) or process.pid)
        except (psutil.NoSuchProcess, FileNotFoundError):
            return process

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[:6])
    except psutil.NoSuchProcess:
        return f"{process.pid}, which has ended since"


def logged(terminal: str) -> str:
    """What the last start of the run that this terminal shows has printed into its `log.txt`, if it came so far."""
    named = re.search(r"^Log of all processes: (.+)$", terminal, re.MULTILINE)
    return Path(named[1]).read_text(errors="replace").split(f"\n{LOG_STARTS}")[-1] if named else ""


def _hear_ctrl_c() -> None:
    """A shell's background jobs, and what they start, are deaf to SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def running(repo: Path, prefork: Prefork | None = None) -> Iterator[Runner]:
    """A `Runner`; whatever of its runs does not end after the last is killed, and an error."""
    runner = Runner(repo, prefork)
    try:
        yield runner
    finally:
        left = runner.end()
    assert not left, f"left running: {left}"


def trainer(runner: Runner, toy: Path, base: Path) -> Callable[..., Run]:
    """`train("name", "key=value", ...)`: a small run on the embedded default, in `base/name`."""

    def train(name: str, *overrides: str, **kwargs) -> Run:
        folder = base / name
        command = [
            *(sys.executable, str(INSTRUMENTED)),
            *(f"data.train_files={toy}/train.parquet", f"data.val_files={toy}/validation.parquet"),
            *(f"actor_rollout_ref.model.path={toy}/model", f"trainer.default_local_dir={folder}"),
            *(SMALL + overrides),
        ]
        return runner(command, folder, **kwargs)

    return train

"""The ranks of a run: started by torchrun, waited for, and ended with whoever waits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cppo_verl.runs.files import alone_in

RANK = "cppo_verl.sft.rank"
"""The module that a rank runs."""
RANK_LOCK = ".rank_{}.lock"
"""What a rank holds in the run's folder, by its number; one whose starters were killed may hold it a while longer."""
STRAY_SECONDS = 60.0
"""Wait for the ranks of a start that was killed: they look for their starters each half second between operations,
and their dataloader's workers, which hold the lock too, every few."""


def wait_for_strays(folder: Path) -> None:
    """Wait for the ranks of an earlier start, which would write into the folder beside this one's.

    Raises:
        InUse: They still run.
    """
    for lock in sorted(folder.glob(RANK_LOCK.format("*"))):
        with alone_in(folder, lock.name, wait=STRAY_SECONDS):
            pass


def run_ranks(file: Path, ranks: int, environment: Mapping[str, str], module: str = RANK) -> int:
    """Run a module on every device of this machine, to its end; when this wait is ended, the ranks are first.

    Args:
        file: The run's config, in its folder.
        ranks: Devices.
        environment: Further variables of the ranks.
        module: What a rank runs.

    Returns:
        torchrun's exit code.
    """
    command = [*_torchrun(ranks), "-m", module, str(file), str(os.getpid())]
    torchrun = subprocess.Popen(command, env={**os.environ, **environment})
    try:
        return torchrun.wait()
    finally:
        if torchrun.poll() is None:
            torchrun.terminate()  # which ends the ranks, by force after half a minute
            torchrun.wait()


def _torchrun(ranks: int) -> Sequence[str]:
    of_torch = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1")
    return *of_torch, f"--nproc-per-node={ranks}"

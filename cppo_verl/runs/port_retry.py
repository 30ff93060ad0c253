"""A start that failed because a port was taken is made again.

verl 0.9.1 picks the port of a process group by opening one and closing it again; the workers open it when they are up,
ten or more seconds later. vLLM does the same within a second. Meanwhile anything else on the machine, such as another
run that starts, may be given the port.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path

from cppo_verl.runs.causes import explain, is_port_taken
from cppo_verl.runs.checkpoints import COMPLETE
from cppo_verl.runs.folder import METRICS_FILE
from cppo_verl.runs.metrics_log import BEFORE, read_entry
from cppo_verl.runs.notices import notice

STARTS = 3
"""How often a run is started at the most."""


def start_on_free_ports(start: Callable[[], None], run_folder: str | Path) -> None:
    """Call `start`, and again where a port was taken before a step was trained.

    Args:
        start: Starts Ray, trains, and leaves no Ray behind, also when it fails.
        run_folder: By which is told whether a step was trained.
    """
    for left in reversed(range(STARTS)):
        before = traces_of_training(run_folder)
        try:
            return start()
        except Exception as error:  # only to look whether a port was taken: any other goes on
            if not left or not is_port_taken(error) or traces_of_training(run_folder) - before:
                raise
            notice(f"The run is started again: {explain(error).removesuffix('. Start the run again')}")


def traces_of_training(run_folder: str | Path) -> set[Hashable]:
    """What each trained step leaves in a run's folder: its line in the log, and its checkpoint, if it has one."""
    folder, traces = Path(run_folder), set()
    for log in (folder / METRICS_FILE, folder / BEFORE):
        for line in log.read_bytes().splitlines() if log.is_file() else []:
            entry = read_entry(line)
            if entry and "training/global_step" in entry[1]:
                traces.add(line)
    return traces | {(path, path.stat().st_mtime_ns) for path in folder.glob(f"global_step_*/{COMPLETE}")}

"""Runs the studies and benchmarks, and writes what the docs show of them: files of `docs/results`, tables of the pages.

python scripts/results.py [NAME ...] [--seeds N] [key=value ...]   # makes what is not complete, then writes
python scripts/results.py quickstart [--seeds N]                   # the quick start, under three instruction sets
python scripts/results.py --tables                                 # only writes the tables into the pages again

Started again, it goes on where it was stopped, in `outputs/studies`. `result_tables` says which tables there are.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from result_tables import PAGES, REPO, RESULTS, with_tables

from cppo_verl.console import open_console
from cppo_verl.report.groups import Group, group_runs
from cppo_verl.report.runs import read_run
from cppo_verl.report.tables import accuracy_before, last_accuracy
from cppo_verl.runs.folder import METRICS_FILE
from cppo_verl.studies.command import start
from cppo_verl.studies.quickstart import make_task

QUICK_START = "quickstart"
STUDIES = (
    *("rivals", "equal_seconds", "equal_seconds_rules", "pruning_rate", "metric", "modules", "quality"),
    *("zero_variance", "scope", "trainers"),
)
"""In this order: `pruning_rate` takes runs of the first; of the others all times are of the same hours."""
SEEDS = {QUICK_START: 8, "trainers": 1}
"""Runs per arm; of the other studies 5."""
BENCHMARKS = {
    "bench": ("cppo_verl bench --geometry small --steps 3 device=cpu", ("bench.json", "time_split.png")),
    "ceiling": ("cppo_verl.bench.ceiling", ("ceiling.csv",)),
    "scaling": ("cppo_verl.bench.scaling --geometry small --steps 3 device=cpu", ("scaling.json",)),
}
"""Name to what Python runs, with an `--out`, and what is published of that folder."""
INSTRUCTION_SETS = {
    "native": {},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "SSE4.1": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
}
"""What torch and oneDNN may use at the most: each rounds in another way, as another processor would."""


def make(name: str, out: Path, seeds: int, overrides: Sequence[str]) -> int:
    """Run what is not complete of a study or benchmark, and publish it; returns the exit code."""
    if name == QUICK_START:
        return run_quick_start(out, seeds)
    if name in BENCHMARKS:
        return run_benchmark(name, out)
    if not any(given.startswith("recipe=") for given in overrides):
        make_task(REPO / "outputs/quickstart", open_console())
    if code := start(name, seeds, None, out, overrides, own_runs=name != "pruning_rate"):
        return code
    publish(out / "report", RESULTS / name)
    return 0


def publish(report: Path, folder: Path) -> None:
    """Copy a study's report into the docs, but for the page that holds a plotting library of 4 MB."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(report, folder, ignore=shutil.ignore_patterns("*.html"))


def run_benchmark(name: str, out: Path) -> int:
    """Run a benchmark and publish its files; returns the exit code."""
    command, files = BENCHMARKS[name]
    if code := subprocess.run([sys.executable, "-m", *command.split(), f"--out={out}"]).returncode:
        return code
    (RESULTS / name).mkdir(exist_ok=True)
    for file in files:
        shutil.copy(out / file, RESULTS / name)
    return 0


def run_quick_start(out: Path, seeds: int) -> int:
    """Run what is not complete of the quick start's seeds under each instruction set, and publish them; returns the
    exit code."""
    folders = {name: out / name for name in INSTRUCTION_SETS}
    for name, folder in folders.items():
        command = [sys.executable, "-m", "cppo_verl.studies.quickstart", f"--out={folder}", f"--seeds={seeds}"]
        if code := subprocess.run(command, env=os.environ | INSTRUCTION_SETS[name]).returncode:
            return code
    publish(next(iter(folders.values())) / "report", RESULTS / QUICK_START)
    over_instruction_sets(folders).to_csv(RESULTS / QUICK_START / "accuracies.csv", index=False)
    return 0


def over_instruction_sets(folders: Mapping[str, Path]) -> pd.DataFrame:
    """A row an instruction set and method: accuracy at the end over the seeds, in per cent, of its folder of runs."""
    rows = []
    for instructions, folder in folders.items():
        runs = [read_run(path.parent) for path in sorted(folder.glob(f"*/{METRICS_FILE}"))]
        groups = sorted(group_runs(runs), key=lambda group: group.rate)
        rows += [{"instructions": instructions, "method": group.label, **_spread(group)} for group in groups]
    return pd.DataFrame(rows)


def _spread(group: Group) -> dict[str, float]:
    ends = 100 * pd.Series([last_accuracy(run) for run in group.furthest])
    spread = {"mean": ends.mean(), "standard deviation": ends.std(), "lowest": ends.min(), "highest": ends.max()}
    return {"runs": len(ends), "before": 100 * group.mean(accuracy_before), **spread}


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code of the first that fails, else 0."""
    names = (QUICK_START, *STUDIES, *BENCHMARKS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME or key=value", help=f"by default {', '.join(names)}")
    parser.add_argument("--seeds", type=int, help="runs per arm, by default 5, of the quick start 8, of trainers 1")
    parser.add_argument("--tables", action="store_true", help="write the tables of the pages again, train nothing")
    args = parser.parse_args(argv)
    overrides = [given for given in args.names if "=" in given]
    names = [given for given in args.names if "=" not in given] or names
    for name in {QUICK_START, *BENCHMARKS}.intersection(names) if overrides else ():
        parser.error(f"{overrides[0]} is of studies, {name} takes none: name the studies")
    for name in [] if args.tables else names:
        if code := make(name, REPO / "outputs/studies" / name, args.seeds or SEEDS.get(name, 5), overrides):
            return code
    for page in PAGES:
        page.write_text(with_tables(page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

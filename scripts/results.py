"""Runs the studies and writes what the docs show of them: tables, pictures and CSV files in `docs/results`.

python scripts/results.py [STUDY ...] [--seeds N] [key=value ...]   # trains what is not complete, then writes
python scripts/results.py quickstart [--seeds N]                    # the quick start, under three instruction sets
python scripts/results.py --tables                                  # only writes the tables into the pages again

A page names a table of a study in a comment, `<!-- rivals/time_to_accuracy -->`, and ends it with `<!-- end -->`;
what stands between is made from the study's CSV file of that name.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cppo_verl.report import cells, show
from cppo_verl.report.groups import Group, group_runs
from cppo_verl.report.runs import read_run
from cppo_verl.report.tables import accuracy_before, last_accuracy
from cppo_verl.runs.folder import METRICS_FILE
from cppo_verl.studies.command import start

REPO = Path(__file__).parents[1]
RESULTS = REPO / "docs/results"
PAGES = (REPO / "README.md", RESULTS / "README.md")
QUICK_START = "quickstart"
STUDIES = (QUICK_START, "rivals", "pruning_rate", "metric", "modules", "quality", "zero_variance", "scope")
"""In this order: the later ones take runs of the first."""
SEEDS = {QUICK_START: 8}
"""Runs per arm; of the other studies 5."""
INSTRUCTION_SETS = {
    "native": {},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "SSE4.1": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
}
"""What torch and oneDNN may use at the most: each rounds in another way, as another processor would."""


def accuracies(table: pd.DataFrame) -> pd.DataFrame:
    """`over_instruction_sets`, a row an instruction set and method."""
    numbers = ["before", "mean", "standard deviation", "lowest", "highest"]
    return table.assign(runs=table["runs"].astype(str), **table[numbers].map(cells.one_decimal))


SHOWN = {
    "accuracies": accuracies,
    "time_to_accuracy": show.to_target,
    "results": show.results,
    "equal_cost": show.equal_cost,
    "single_run": show.single_run,
    "time_split": show.time_split,
    "accounting": show.accounting,
}
"""Name of a report's CSV file to what makes a table for people of it."""
TABLE = re.compile(r"(<!-- (?P<study>[\w.]+)/(?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def publish(report: Path, folder: Path) -> None:
    """Copy a study's report into the docs, but for the page that holds a plotting library of 4 MB."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(report, folder, ignore=shutil.ignore_patterns("*.html"))


def with_tables(text: str, results: Path = RESULTS) -> str:
    """A page with its tables made again from the CSV files; raises FileNotFoundError for one that is not there."""

    def table(found: re.Match) -> str:
        frame = pd.read_csv(results / found["study"] / f"{found['name']}.csv")
        return f"{found[1]}{show.markdown(SHOWN[found['name']](frame))}\n{found[4]}"

    return TABLE.sub(table, text)


def run_quick_start(out: Path, seeds: int) -> int:
    """Run what is not complete of the quick start's seeds under each instruction set, and publish them; returns the
    exit code."""
    folders = {name: out / name for name in INSTRUCTION_SETS}
    for name, folder in folders.items():
        command = [sys.executable, "-m", "cppo_verl.studies.quickstart", f"--out={folder}", f"--seeds={seeds}"]
        if code := subprocess.run(command, env=os.environ | INSTRUCTION_SETS[name]).returncode:
            return code
    publish_quick_start(folders)
    return 0


def run_study(study: str, out: Path, seeds: int, overrides: Sequence[str]) -> int:
    """Run what of a study is not complete, and publish its report; returns the exit code."""
    if code := start(study, seeds, None, out, overrides):
        return code
    publish(out / "report", RESULTS / study)
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


def publish_quick_start(folders: Mapping[str, Path]) -> None:
    """The report of the first folder, and the accuracies of all."""
    publish(next(iter(folders.values())) / "report", RESULTS / QUICK_START)
    over_instruction_sets(folders).to_csv(RESULTS / QUICK_START / "accuracies.csv", index=False)


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code of the first study that fails, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", metavar="STUDY or key=value", help=f"by default {', '.join(STUDIES)}")
    parser.add_argument("--seeds", type=int, help="runs per arm, by default 5, of the quick start 8")
    parser.add_argument("--tables", action="store_true", help="write the tables of the pages again, train nothing")
    args = parser.parse_args(argv)
    overrides = [given for given in args.studies if "=" in given]
    studies = [given for given in args.studies if "=" not in given] or STUDIES
    if overrides and QUICK_START in studies:
        parser.error(f"{overrides[0]} is of studies, the quick start takes none: name the studies")
    for study in [] if args.tables else studies:
        out, seeds = REPO / "outputs/studies" / study, args.seeds or SEEDS.get(study, 5)
        run = run_quick_start(out, seeds) if study == QUICK_START else run_study(study, out, seeds, overrides)
        if run:
            return run
    for page in PAGES:
        page.write_text(with_tables(page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

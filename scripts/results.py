"""Runs the studies and writes what the docs show of them: tables, pictures and CSV files in `docs/results`.

python scripts/results.py [STUDY ...] [--seeds N] [key=value ...]   # trains what is not complete, then writes
python scripts/results.py --tables                                  # only writes the tables into the pages again

A page names a table of a study in a comment, `<!-- rivals/time_to_accuracy -->`, and ends it with `<!-- end -->`;
what stands between is made from the study's CSV file of that name.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

import pandas as pd

from cppo_verl.report import show
from cppo_verl.studies.command import start

REPO = Path(__file__).parents[1]
RESULTS = REPO / "docs/results"
PAGES = (REPO / "README.md", RESULTS / "README.md")
STUDIES = ("rivals", "pruning_rate", "metric", "modules", "quality", "zero_variance", "scope")
"""In this order: the later ones take runs of the first."""
SHOWN = {
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


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code of the first study that fails, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", metavar="STUDY or key=value", help=f"by default {', '.join(STUDIES)}")
    parser.add_argument("--seeds", type=int, default=5, help="runs an arm")
    parser.add_argument("--tables", action="store_true", help="write the tables of the pages again, train nothing")
    args = parser.parse_args(argv)
    overrides = [given for given in args.studies if "=" in given]
    for study in [] if args.tables else [given for given in args.studies if "=" not in given] or STUDIES:
        out = REPO / "outputs/studies" / study
        if code := start(study, args.seeds, None, out, overrides):
            return code
        publish(out / "report", RESULTS / study)
    for page in PAGES:
        page.write_text(with_tables(page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The tables of the docs, each made from a file of `docs/results`.

A page names a table in a comment, `<!-- rivals/time_to_accuracy -->`, and ends it with `<!-- end -->`. What stands
between is made from what the study, or the benchmark, of that name wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import check_advice
import pandas as pd

from cppo_verl.bench import ceiling, scaling
from cppo_verl.bench import command as bench
from cppo_verl.report import cells, show

REPO = Path(__file__).parents[1]
RESULTS = REPO / "docs/results"
PAGES = (REPO / "README.md", RESULTS / "README.md", REPO / "docs/scaling.md")
Shown = Callable[[pd.DataFrame], pd.DataFrame]


def accuracies(table: pd.DataFrame) -> pd.DataFrame:
    """`results.over_instruction_sets`, a row an instruction set and method."""
    numbers = ["before", "mean", "standard deviation", "lowest", "highest"]
    return table.assign(runs=table["runs"].astype(str), **table[numbers].map(cells.one_decimal))


STUDY: dict[str, Shown] = {
    "accuracies": accuracies,
    "ceiling": ceiling.shown,
    "time_to_accuracy": show.to_target,
    "results": show.results,
    "equal_cost": show.equal_cost,
    "single_run": show.single_run,
    "time_split": show.time_split,
    "accounting": show.accounting,
    "waiting": show.waiting,
}
"""Name of a CSV file to what makes a table for people of it."""
BENCH = ("ratios", "phases", "speeds")
"""The parts of `bench.command.shown`, of `bench.json`."""
TABLE = re.compile(r"(<!-- (?P<study>[\w.]+)/(?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def make(folder: Path, name: str) -> str:
    """A table in Markdown; raises FileNotFoundError where nothing was published for it.

    Args:
        folder: Of a study in `docs/results`.
        name: A file's of `STUDY`, a part of `BENCH`, `steps` of the scaling benchmark, or `advice`.
    """
    if name == "advice":
        return check_advice.markdown(check_advice.rows(folder.parent))
    if name in BENCH:
        arms = json.loads((folder / "bench.json").read_text())["arms"]
        return show.markdown(bench.shown(pd.DataFrame(arms))[BENCH.index(name)])
    if name == "steps":
        return show.markdown(scaling.shown(pd.DataFrame(json.loads((folder / "scaling.json").read_text()))))
    return show.markdown(STUDY[name](pd.read_csv(folder / f"{name}.csv")))


def with_tables(text: str, results: Path = RESULTS) -> str:
    """A page with its tables made again; raises FileNotFoundError for one whose file is not there."""
    return TABLE.sub(lambda found: f"{found[1]}{make(results / found['study'], found['name'])}\n{found[4]}", text)

"""Two evaluations on the same questions, compared question by question.

python -m cppo_verl.compare EVALUATION_A EVALUATION_B
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from cppo_verl.config import ConfigError
from cppo_verl.evaluation.results import correct_by_question, read_generations
from cppo_verl.evaluation.statistics import Comparison, compare


def compare_folders(a: Path, b: Path) -> dict[str, Comparison]:
    """Compare two evaluations' folders on each benchmark they share.

    Raises:
        ConfigError: They share none, or a benchmark's questions are not the same in both.
    """
    first, second = (dict(iter(read_generations(folder).groupby("benchmark"))) for folder in (a, b))
    shared = [name for name in first if name in second]
    if not shared:
        raise ConfigError(f"no benchmark in common: {', '.join(first)} and {', '.join(second)}")
    return {name: compare(*_aligned(name, first[name], second[name])) for name in shared}


def _aligned(name: str, a: pd.DataFrame, b: pd.DataFrame):
    golds = [rows.drop_duplicates("index").set_index("index")["gold"] for rows in (a, b)]
    if not golds[0].equals(golds[1]):
        raise ConfigError(
            f"{name}: not the same questions ({len(golds[0])} and {len(golds[1])}); finish both evaluations, "
            "with the same file and limit"
        )
    return correct_by_question(a), correct_by_question(b)


def table(comparisons: dict[str, Comparison]) -> Table:
    """The comparisons for a terminal, in percent and points."""
    grid = Table("benchmark", "questions", "A", "B", "B - A (95 %), points", "p", "test")
    for name, found in comparisons.items():
        low, high = (100 * bound for bound in (found.interval.low, found.interval.high))
        grid.add_row(
            name,
            str(found.questions),
            f"{found.accuracy_a:.2%}",
            f"{found.accuracy_b:.2%}",
            f"{100 * found.difference:+.2f} [{low:+.1f}, {high:+.1f}]",
            f"{found.p_value:.3g}",
            found.test,
        )
    return grid


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path, help="folder of an evaluation (it holds generations.jsonl)")
    parser.add_argument("b", type=Path, help="folder of another")
    args = parser.parse_args(argv)
    try:
        found = compare_folders(args.a, args.b)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    Console(width=None if sys.stdout.isatty() else 120).print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Worked solutions as demonstrations: prepared rows with the assistant's turn, in the format that the reward asks for.

A demonstration is the row's own chat and a completion made of the worked solution and the gold. Each is scored by the
reward that the recipes train with, and must earn all of it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from cppo_verl.data.check import read_rows
from cppo_verl.data.prepare import NothingWritten, show_progress, write_or_say
from cppo_verl.data.rows import Finding
from cppo_verl.data.validation import hold_out
from cppo_verl.rewards import gsm8k, math
from cppo_verl.rewards.symbolic import WORKERS
from cppo_verl.rewards.tags import layout

FULL_SCORE = 3.0
"""Format and accuracy, of either reward."""
SOURCES = ("data/gsm8k/train.parquet", "data/math/train.parquet")
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_SHOWN = 20  # findings printed


@dataclass(frozen=True)
class Style:
    """How the worked solutions of a data set become completions."""

    reason: Callable[[str], str]
    """Worked solution to the text in `<think>`."""
    answer: Callable[[str], str]
    """Gold to the text in `<answer>`."""
    score: Callable[..., dict[str, float | str]]
    """The reward function."""


def without_calculator(solution: str) -> str:
    """A GSM8K solution without its calculator's annotations (`<<48/2=24>>`) and the line of the gold (`#### 24`)."""
    return _CALCULATOR.sub("", solution.rpartition("####")[0]).strip()


def boxed_sentence(gold: str) -> str:
    r"""The sentence that MATH's system message asks for, with the gold in `\boxed`."""
    return f"Therefore, the final answer is: $\\boxed{{{gold}}}$. I hope it is correct"


NUMBER = Style(without_calculator, str, gsm8k.compute_score)
BOXED = Style(str.strip, boxed_sentence, math.compute_score)
STYLES = {
    "openai/gsm8k": NUMBER,
    "cppo/word_problems": NUMBER,
    "DigitalLearningGmbH/MATH-lighteval": BOXED,
}
"""By a row's `data_source`: those whose `extra_info.answer` is a worked solution."""


def demonstrate(row: dict) -> dict:
    """A demonstration of one prepared row.

    Args:
        row: In verl's schema, `extra_info.answer` the worked solution.

    Returns:
        `messages` (what verl's SFT data set reads), `data_source` and `extra_info` (`split`, `index`, `question`).

    Raises:
        ValueError: Nobody knows how the solutions of this data set are written, or the completion would not earn the
            full reward.
    """
    source, gold = row["data_source"], row["reward_model"]["ground_truth"]
    if source not in STYLES:
        raise ValueError(f"no worked solutions are known of {source!r}; there are those of {', '.join(STYLES)}")
    style, told = STYLES[source], row["extra_info"]
    reasoning = style.reason(told["answer"])
    if not reasoning:
        raise ValueError("no worked solution, only a gold")
    text = layout(reasoning, style.answer(gold))
    scored = style.score(source, text, gold, told)
    if scored["score"] != FULL_SCORE:
        raise ValueError(
            f"the worked solution earns {scored['score']:g} of {FULL_SCORE:g} "
            f"(format {scored['format']:g}, answer {scored['outcome']})"
        )
    return {
        "messages": [*row["prompt"], {"role": "assistant", "content": text}],
        "data_source": source,
        "extra_info": {key: told[key] for key in ("split", "index", "question")},
    }


def demonstrate_all(
    rows: Sequence[dict], name: str, progress: Callable[..., Iterable] = show_progress
) -> tuple[list[dict], list[Finding]]:
    """The demonstrations of a file's rows, and what is wrong with the rows that give none."""

    def attempt(row: dict) -> dict | str:
        try:
            return demonstrate(row)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(WORKERS) as threads:  # symbolic answers are compared in as many worker processes
        results = list(progress(threads.map(attempt, rows), len(rows), name))
    bad = [Finding(name, number, why) for number, why in enumerate(results, start=1) if isinstance(why, str)]
    return [result for result in results if isinstance(result, dict)], bad


def main(description: str, argv: Sequence[str] | None = None) -> int:
    """Write `train.parquet`, and `validation.parquet` if asked; returns the exit code, 1 if nothing was written."""
    args = _parse_args(description, argv)

    def make() -> dict[Path, list[dict]]:
        try:
            return _demonstrations(args)
        except ValueError as error:  # of a file, of its rows, or of the number held out
            raise NothingWritten(f"nothing written; {error}") from error

    return write_or_say(make)


def _demonstrations(args: argparse.Namespace) -> dict[Path, list[dict]]:
    good, bad = [], []
    for path in args.rows:
        read_rows(path)
        demonstrations, findings = demonstrate_all(pq.read_table(path).to_pylist(), str(path))
        good, bad = good + demonstrations, bad + findings
    for finding in bad[:_SHOWN]:
        print(f"bad row: {finding}", file=sys.stderr)
    if bad and not args.drop_bad_rows:
        raise ValueError(f"{len(bad)} bad row(s): mend these rows or pass --drop-bad-rows")
    train, held = hold_out(good, args.validation)
    files = {"train": train} | ({"validation": held} if held else {})
    return {args.local_dir / f"{split}.parquet": rows for split, rows in files.items()}


def _parse_args(description: str, argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--local_dir", type=Path, required=True, help="folder to write the parquet files to")
    parser.add_argument(
        "--rows",
        type=Path,
        nargs="+",
        default=[Path(source) for source in SOURCES],
        help=f"files that a preparation script wrote (default: {' '.join(SOURCES)})",
    )
    parser.add_argument("--validation", type=int, default=0, metavar="N", help="questions held out (default: 0)")
    parser.add_argument("--drop-bad-rows", action="store_true", help="leave bad rows out instead of stopping")
    return parser.parse_args(argv)

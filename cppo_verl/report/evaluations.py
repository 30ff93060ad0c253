"""Evaluations of the runs' checkpoints (`cppo-verl evaluate`), found in the run folders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.evaluation.comparison import compare_benchmark, protocol
from cppo_verl.evaluation.results import RESULTS
from cppo_verl.evaluation.statistics import Interval
from cppo_verl.report.runs import Run


@dataclass(frozen=True)
class Evaluation:
    """One benchmark of one checkpoint."""

    run: str
    folder: Path
    checkpoint: str
    """`global_step_N`, or `best/global_step_N`."""
    benchmark: str
    asked: str
    """What it may be compared by: a fingerprint of the questions, and the protocol."""
    result: dict
    """As in `results.json`."""


def read_evaluations(runs: Sequence[Run]) -> tuple[list[Evaluation], list[str]]:
    """The finished evaluations of each run, the latest checkpoint's first, and a note on each that cannot be read."""
    found, faults = [], []
    for run in runs:
        for file in _files(run.folder):
            try:
                found += _read(run, file)
            except (ValueError, KeyError, TypeError, AttributeError):
                faults.append(f"{run.name}: {file.relative_to(run.folder)} is not that of an evaluation; left out.")
    return found, faults


def table(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """A row a benchmark of a checkpoint: shares and 95 % intervals in percent, differences in points.

    `difference` is to the first row of the same questions, with a paired interval and p-value
    (`evaluation.statistics.compare`).
    """
    first: dict[tuple[str, str], Evaluation] = {}
    rows = []
    for evaluation in evaluations:
        base = first.setdefault((evaluation.benchmark, evaluation.asked), evaluation)
        result, interval = evaluation.result, evaluation.result["intervals"]["accuracy"]
        row = {
            "benchmark": evaluation.benchmark,
            "run": evaluation.run,
            "checkpoint": evaluation.checkpoint,
            "questions": result["questions"],
            "samples": result["samples"],
            "accuracy": 100 * result["accuracy"],
            "accuracy low": 100 * interval["low"],
            "accuracy high": 100 * interval["high"],
            "truncated": 100 * result["truncated"],
            "tokens": result["mean_tokens"],
        }
        rows.append(row | (_against(base, evaluation) if base is not evaluation else {}))
    columns = ["difference", "difference low", "difference high", "p"]
    frame = pd.DataFrame(rows)
    return frame.reindex(columns=[*frame.columns.difference(columns, sort=False), *columns])


def _files(run: Path) -> Iterator[Path]:
    for place in (run, run / "best"):
        files = (file for file in place.glob(f"eval/global_step_*/*/{RESULTS}") if _step_name(file).isdigit())
        yield from sorted(files, key=lambda file: (-_step(file), file.parent.name))


def _step_name(results: Path) -> str:
    return results.parent.parent.name.removeprefix("global_step_")


def _step(results: Path) -> int:
    return int(_step_name(results))


def _read(run: Run, file: Path) -> list[Evaluation]:
    content = json.loads(file.read_text())
    place = file.parent.parent
    checkpoint = place.name if place.parents[1] == run.folder else f"best/{place.name}"
    found = []
    for name, result in content["benchmarks"].items():
        asked = f"{content['settings']['benchmarks'][name]['questions']} {protocol(content['settings'], name)}"
        Interval(**result["intervals"]["accuracy"])  # an earlier version's has none
        found.append(Evaluation(run.name, file.parent, checkpoint, name, asked, result))
    return found


def _against(base: Evaluation, evaluation: Evaluation) -> dict[str, float]:
    try:
        found = compare_benchmark(base.folder, evaluation.folder, evaluation.benchmark)
    except (ConfigError, ValueError, KeyError):  # the generations of one are gone, or cannot be read
        return {}
    return {
        "difference": 100 * found.difference,
        "difference low": 100 * found.interval.low,
        "difference high": 100 * found.interval.high,
        "p": found.p_value,
    }

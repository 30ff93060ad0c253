"""Evaluations of the runs' checkpoints (`cppo_verl.evaluate`), found in the run folders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cppo_verl.compare import compare_benchmark
from cppo_verl.config import ConfigError
from cppo_verl.evaluation.results import RESULTS
from cppo_verl.report.runs import Run


@dataclass(frozen=True)
class Evaluation:
    """One benchmark of one checkpoint."""

    run: str
    folder: Path
    checkpoint: str
    """`global_step_N`, or `best/global_step_N`."""
    benchmark: str
    questions_asked: str
    """Fingerprint of the questions."""
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
        base = first.setdefault((evaluation.benchmark, evaluation.questions_asked), evaluation)
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
        files = place.glob(f"eval/global_step_*/*/{RESULTS}")
        yield from sorted(files, key=lambda file: (-_step(file), file.parent.name))


def _step(results: Path) -> int:
    return int(results.parent.parent.name.removeprefix("global_step_"))


def _read(run: Run, file: Path) -> list[Evaluation]:
    content = json.loads(file.read_text())
    place = file.parent.parent
    checkpoint = place.name if place.parents[1] == run.folder else f"best/{place.name}"
    return [
        Evaluation(
            run.name, file.parent, checkpoint, name, content["settings"]["benchmarks"][name]["questions"], result
        )
        for name, result in content["benchmarks"].items()
    ]


def _against(base: Evaluation, evaluation: Evaluation) -> dict[str, float]:
    try:
        found = compare_benchmark(base.folder, evaluation.folder, evaluation.benchmark)
    except ConfigError:  # the generations of one are gone
        return {}
    return {
        "difference": 100 * found.difference,
        "difference low": 100 * found.interval.low,
        "difference high": 100 * found.interval.high,
        "p": found.p_value,
    }

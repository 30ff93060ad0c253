"""Two evaluations on the same questions, compared question by question.

cppo-verl compare EVALUATION_A EVALUATION_B
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.table import Table

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.evaluation.results import correct_by_question, read_generations, read_settings
from cppo_verl.evaluation.statistics import Comparison, compare


def compare_folders(a: Path, b: Path) -> dict[str, Comparison]:
    """Compare two evaluations' folders on each benchmark they share.

    Raises:
        ConfigError: They share none, a benchmark's questions are not the same in both, or one is not finished.
    """
    asked = [read_settings(folder)["benchmarks"] for folder in (a, b)]
    shared = [name for name in asked[0] if name in asked[1]]
    if not shared:
        raise ConfigError(f"no benchmark in common: {', '.join(asked[0])} and {', '.join(asked[1])}")
    return {name: compare_benchmark(a, b, name) for name in shared}


def compare_benchmark(a: Path, b: Path, name: str) -> Comparison:
    """Compare two evaluations' folders on one benchmark that both asked.

    Raises:
        ConfigError: The questions or the protocol are not the same in both, or one is not finished.
    """
    settings = [read_settings(folder) for folder in (a, b)]
    asked = [found["benchmarks"][name] for found in settings]
    if asked[0]["questions"] != asked[1]["questions"]:
        raise ConfigError(f"{name}: not the same questions in both; give both the same file and limit")
    if (one := protocol(settings[0], name)) != (other := protocol(settings[1], name)):
        raise ConfigError(f"{name}: not the same protocol in both: {one} and {other}")
    return compare(*(_correct(folder, name, own) for folder, own in zip((a, b), asked, strict=True)))


def protocol(settings: dict, name: str) -> dict:
    """What two evaluations of a benchmark must have in common besides the questions; the number of samples may
    differ."""
    own = settings["benchmarks"][name]
    return {key: own.get(key) for key in ("temperature", "top_p")} | {
        key: settings.get(key) for key in ("max_tokens", "dtype")
    }


def _correct(folder: Path, name: str, asked: dict) -> np.ndarray:
    """`(num_questions, num_samples)` of a benchmark in an evaluation's folder."""
    rows = read_generations(folder)
    correct = correct_by_question(rows[rows["benchmark"] == name])
    if np.isnan(correct).any() or len(correct) != asked["num_questions"]:
        raise ConfigError(f"{folder}: {name} is not finished; start that evaluation again to finish it")
    return correct


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

"""What `cppo-verl advise` predicts from GRPO's split, beside what was measured; a Markdown table.

python scripts/check_advice.py [docs/results]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cppo_verl.report import stats
from cppo_verl.report.split import PHASES, SHRINKING, Split

STUDIES = ("pruning_rate", "modules", "trainers")
"""Whose arms take the same questions."""
PUBLISHED = {
    "TRL, one A100, Qwen3-0.6B, GSM8K": {0.5: 1.51, 0.75: 1.92, 0.875: 2.03},
    "the authors' verl, 2 x 80 GB, Qwen2.5-1.5B, GSM8K": {0.5: 1.93, 0.75: 3.28, 0.875: 4.65, 0.9375: 7.44},
}
"""Ratios that were published without the split of the step, with allocation."""


@dataclass(frozen=True)
class Row:
    """A prediction and what was measured."""

    source: str
    rate: float
    allocation: bool
    predicted: float
    measured: float

    def __str__(self) -> str:
        error = 100 * (self.predicted / self.measured - 1)
        return f"{self.predicted:.2f}x, {self.measured:.2f}x ({error:+.0f} %)"


def predict(source: str, split: Split, rate: float, allocation: bool, measured: float) -> Row:
    """A row of one arm."""
    return Row(source, rate, allocation, split.allocated(rate) if allocation else split.bound(rate), measured)


def split_of(seconds: Mapping[str, object]) -> Split:
    """The split of these phases, among other columns; the others took no time."""
    return Split({phase: float(seconds.get(phase, 0)) for phase in (*PHASES, "other")})


def of_bench(file: Path) -> Iterator[Row]:
    """The arms of `cppo-verl bench`, but for verl's own."""
    arms = {arm["arm"]: arm for arm in json.loads(file.read_text())["arms"]}
    split = split_of(arms["GRPO"])
    for name, arm in arms.items():
        if name.startswith("P="):
            rate, _, only = name.removeprefix("P=").partition(", ")
            yield predict("benchmark", split, float(rate), not only, arm["ratio"])


def of_study(report: Path) -> Iterator[Row]:
    """The arms of a study beside GRPO on the same of verl's trainers, from the tables of its report."""
    results, seconds = (_table(report.read_text(), heading) for heading in ("| method |", "| time (s) |"))
    for row in results:
        row["time"] = row["time (s)"].split()[0]
    grpo = {_trainer(row): (row, split) for row, split in zip(results, seconds, strict=True) if row["P"] == "0"}
    for row in results:
        base, split = grpo[_trainer(row)]
        source = ", ".join(filter(None, [f"study {report.parent.name}", _trainer(row)]))
        if row is not base:
            ratio = float(base["time"]) / float(row["time"])
            yield predict(source, split_of(split), float(row["P"]), "pruning only" not in row["method"], ratio)


def _trainer(row: Mapping[str, str]) -> str:
    """Of verl's trainers, `V1 sync` and so on; none for V0."""
    return next((option for option in row.get("options", "").split(", ") if option.startswith("V1")), "")


def of_scaling(file: Path) -> Iterator[Row]:
    """The points of `cppo_verl.bench.scaling`; it did not record the weight sync by itself."""
    points: dict[str, list[dict]] = {}
    for arm in json.loads(file.read_text()):
        points.setdefault(arm["point"], []).append(arm)
    for point, (grpo, *others) in points.items():
        split = split_of({"other": grpo["generation"], SHRINKING[-1]: grpo["training"]})
        for arm in others:
            rate, _, only = arm["arm"].removeprefix("P=").partition(", ")
            ratio = grpo["measured"] / grpo["questions"] / (arm["measured"] / arm["questions"])
            yield predict(f"scaling, {point}", split, float(rate), not only, ratio)


def of_published(source: str, ratios: dict[float, float]) -> Iterator[Row]:
    """The ratios at higher P, by the split that the one at the lowest P implies."""
    lowest, *higher = ratios
    shrinking = (1 - 1 / ratios[lowest]) / lowest
    for rate in higher:
        yield Row(source, rate, True, stats.bound(1 - shrinking, shrinking, rate), ratios[rate])


def rows(folder: Path) -> Iterator[Row]:
    """All of them."""
    yield from of_bench(folder / "bench/bench.json")
    for study in STUDIES:
        yield from of_study(folder / study / "report.md")
    yield from of_scaling(folder / "scaling/scaling.json")
    for source, ratios in PUBLISHED.items():
        yield from of_published(source, ratios)


def _table(text: str, heading: str) -> list[dict[str, str]]:
    """Rows of the Markdown table whose head starts so."""
    lines = text[text.index(f"\n{heading}") + 1 :].split("\n\n")[0].splitlines()
    head, _, *body = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    return [dict(zip(head, cells, strict=True)) for cells in body]


def markdown(found: Iterable[Row]) -> str:
    """A line for each source and P."""
    lines: dict[tuple[str, str], dict[bool, Row]] = {}
    for row in found:
        lines.setdefault((row.source, f"{row.rate:g}"), {})[row.allocation] = row
    head = ["| predicted, measured (error) | P | pruning only | with allocation |", "| --- | --- | --- | --- |"]
    body = (f"| {' | '.join(key)} | {arms.get(False, '')} | {arms.get(True, '')} |" for key, arms in lines.items())
    return "\n".join([*head, *body])


if __name__ == "__main__":
    print(markdown(rows(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results"))))

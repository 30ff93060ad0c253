"""verl's row schema, the checks a raw row must pass, and the parquet files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow
import pyarrow.parquet

from cppo_verl.data.known_errors import KnownError, Policy, find
from cppo_verl.data.prompts import Style, ask
from cppo_verl.rewards.symbolic import WORKERS

Progress = Callable[[Iterable, int, str], Iterable]


@dataclass(frozen=True)
class Recipe:
    """How one data set becomes rows."""

    data_sources: dict[str, str]
    """Hub id of each split there is (`train`, `test` or both); also the row's `data_source`, wherever the rows
    came from."""

    question: str
    """Field of the question."""

    answer: str
    """Field that holds the gold: the answer, or a worked solution. A number and a list of one text are read
    as text."""

    parse_gold: Callable[[str], str]
    """Gold in the text of `answer`; ValueError if there is none that can be compared with."""

    system: str
    """System message of the style `tags`."""

    styles: tuple[Style, ...] = ("tags", "boxed")
    """Ways to write the answer that there is a reward for."""

    context: str | None = None
    """Field of a text that goes before the question in the rows that have it."""

    scoring: dict[str, Callable[[str], object]] = field(default_factory=dict)
    """Fields the reward needs besides the gold, copied to `extra_info` as this type, None where a row has none."""

    errata: dict[str, str] = field(default_factory=dict)
    """Gold of rows whose published one cannot be compared with, by how the question begins; always reported."""

    known_errors: tuple[KnownError, ...] = ()
    """Golds that can be compared with, and are wrong."""


@dataclass(frozen=True)
class Finding:
    """Something to tell about one raw row."""

    split: str
    row: int
    """From 1: the line of a JSON Lines file."""
    text: str

    def __str__(self) -> str:
        return f"{self.split} row {self.row}: {self.text}"


@dataclass
class Checked:
    """Golds by split (None where a row has none), what stops the run, and what is only reported."""

    golds: dict[str, list[str | None]] = field(default_factory=dict)
    known: dict[str, dict[int, KnownError]] = field(default_factory=dict)
    """Known errors by split and raw row, from 0."""
    errors: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)


def check(splits: dict[str, list[dict]], recipe: Recipe, progress: Progress, policy: Policy = "keep") -> Checked:
    """Check all raw rows.

    Errors: an empty question, a gold or another field that cannot be scored with, a train question that is also a test
    question (the train row is the bad one: the test set stays as published). Notes: errata used, known
    errors and what `policy` makes of them, and questions repeated within a split. Questions are compared with white
    space collapsed.
    """
    checked = Checked()
    for split, rows in splits.items():
        checked.golds[split] = _check_golds(split, rows, recipe, checked, progress)
        _find_known(split, rows, recipe, checked, policy)
    first = {split: _check_repeats(split, rows, recipe, checked) for split, rows in splits.items()}
    for number, row in enumerate(splits.get("train", ()), start=1):
        if test_row := first.get("test", {}).get(collapse(_question(row, recipe))):
            checked.errors.append(Finding("train", number, f"the question is also test row {test_row}"))
    return checked


def build(
    split: str, rows: list[dict], checked: Checked, recipe: Recipe, *, style: Style | None, policy: Policy = "keep"
) -> list[dict]:
    """Rows in verl's schema, without those that have an error; `extra_info.index` is the raw row from 0.

    `extra_info.known_error` says what is to be known of a gold that is wrong, and what was done about it.
    """
    bad = {finding.row for finding in checked.errors if finding.split == split}
    known = checked.known.get(split, {})
    bad |= {index + 1 for index in known if policy == "drop"}
    return [
        {
            "data_source": recipe.data_sources[split],
            "prompt": ask(_question(row, recipe), style, recipe.system),
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": gold},
            "extra_info": {
                "split": split,
                "index": index,
                "question": _question(row, recipe),
                "answer": _text(row, recipe.answer),
                **_scoring(row, recipe),
                **({"known_error": known[index].told(policy)} if index in known else {}),
            },
        }
        for index, (row, gold) in enumerate(zip(rows, checked.golds[split], strict=True))
        if index + 1 not in bad
    ]


def collapse(question: str) -> str:
    """What tells questions apart: the text with white space collapsed."""
    return " ".join(question.split())


def write_parquet(files: dict[Path, list[dict]]) -> None:
    """Write every file under a temporary name, then rename them all: no reader sees a half-written one."""
    written = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in files}
    try:
        for path, temporary in written.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(files[path]), temporary)
        for path, temporary in written.items():
            temporary.replace(path)
    finally:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)


def _check_golds(
    split: str, rows: list[dict], recipe: Recipe, checked: Checked, progress: Progress
) -> list[str | None]:
    golds = []
    with ThreadPoolExecutor(WORKERS) as threads:  # a symbolic gold is read in as many worker processes
        results = threads.map(partial(_read_gold, recipe), rows)
        for number, (gold, error, note) in enumerate(progress(results, len(rows), split), start=1):
            golds.append(gold)
            checked.errors += [Finding(split, number, error)] if error else []
            checked.notes += [Finding(split, number, note)] if note else []
    return golds


def _read_gold(recipe: Recipe, row: dict) -> tuple[str | None, str, str]:
    """Gold, error and note of a row; the error of a row without a proper question too."""
    for name in (recipe.question, recipe.answer):
        if not _text(row, name).strip():
            return None, f"field {name!r} is empty or missing", ""
    gold, error = None, ""
    try:
        _scoring(row, recipe)
        gold = recipe.parse_gold(_text(row, recipe.answer))
    except ValueError as wrong:
        error = str(wrong)
    for opening, right in recipe.errata.items():
        if row[recipe.question].startswith(opening) and gold != right:
            return right, "", f"{error or f'published gold {gold!r}'}; a known erratum, gold set to {right!r}"
    return gold, error, ""


def _find_known(split: str, rows: list[dict], recipe: Recipe, checked: Checked, policy: Policy) -> None:
    """Note known errors, and mend them where that is wanted."""
    golds, known = checked.golds[split], checked.known.setdefault(split, {})
    for index, row in enumerate(rows):
        if (error := find(recipe.known_errors, _text(row, recipe.question), golds[index])) is not None:
            known[index] = error
            checked.notes.append(Finding(split, index + 1, error.told(policy)))
            if policy == "mend" and error.right:
                golds[index] = error.right


def _check_repeats(split: str, rows: list[dict], recipe: Recipe, checked: Checked) -> dict[str, int]:
    """The first row of each question."""
    first: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        question = collapse(_question(row, recipe))
        if question and first.setdefault(question, number) != number:
            checked.notes.append(Finding(split, number, f"the same question as row {first[question]}"))
    return first


def _question(row: dict, recipe: Recipe) -> str:
    """What the user asks: the question, after its context if it has one."""
    context = _text(row, recipe.context) if recipe.context else ""
    return "\n\n".join(part for part in (context, _text(row, recipe.question)) if part.strip())


def _scoring(row: dict, recipe: Recipe) -> dict[str, object]:
    return {name: read(_text(row, name)) if _text(row, name) else None for name, read in recipe.scoring.items()}


def _text(row: dict, name: str) -> str:
    """A field as text; empty if it holds none."""
    value = row.get(name)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return str(value) if isinstance(value, (str, int, float)) else ""

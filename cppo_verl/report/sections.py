"""The report, section by section: what `report.md` and `report.html` both write out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from cppo_verl.report import show, texts
from cppo_verl.report.groups import Group


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it, in this order."""

    title: str
    pictures: tuple[tuple[str, str], ...] = ()
    """Name of a PNG file, and what it shows."""
    table: pd.DataFrame | None = None
    """Of strings, as a person reads it."""
    text: str = ""
    """One paragraph or several, in Markdown."""


def sections(
    groups: Sequence[Group], frames: Mapping[str, pd.DataFrame], remarks: Sequence[str], with_kinds: bool
) -> list[Section]:
    """All of the report.

    Args:
        groups: The rows of its tables.
        frames: The tables as numbers, by the name of their CSV file; those that there is nothing for are left out.
        remarks: What a reader must know about the runs.
        with_kinds: There is a picture of the four kinds of completion.
    """
    found = [
        _time_to_accuracy(groups, frames["time_to_accuracy"]),
        Section("Results", table=show.results(frames["results"]), text=texts.RESULTS),
        Section("Notes", text="\n".join(f"- {remark}" for remark in remarks)) if remarks else None,
        _of("A single run", frames, "single_run", show.single_run, texts.SINGLE),
        _of("Accuracy at equal cost", frames, "equal_cost", show.equal_cost, texts.EQUAL),
        _of("Evaluations", frames, "evaluations", show.evaluations, texts.EVALUATIONS),
        Section("Where the time went", (SPLIT,), show.time_split(frames["time_split"]), texts.SPLIT),
        Section(CURVES, (ACCURACY, REWARD)),
        _of("What was computed", frames, "accounting", show.accounting, texts.ACCOUNTING),
        _of("Waiting", frames, "waiting", show.waiting, texts.WAITING),
        _of("The four kinds of completion", frames, "kinds", show.kinds, texts.KINDS, (KINDS,)) if with_kinds else None,
        Section("Runs", table=show.runs(groups)),
    ]
    return [section for section in found if section]


CURVES = "Curves"
TIME_TO_ACCURACY = ("time_to_accuracy.png", "Validation accuracy against time, with the target")
ACCURACY = ("accuracy.png", "Validation accuracy against time, questions and optimiser steps")
REWARD = ("reward.png", "Reward of all sampled completions against time, questions and optimiser steps")
SPLIT = ("time_split.png", "Seconds of a run by phase")
KINDS = ("kinds.png", "Completions of the four kinds by step, sampled and kept")


def _time_to_accuracy(groups: Sequence[Group], table: pd.DataFrame) -> Section:
    known = table["target"].notna().all()
    text = texts.time_to_accuracy(groups, table) if known else texts.NO_ACCURACY
    return Section("Time to accuracy", (TIME_TO_ACCURACY,), show.to_target(table) if known else None, text)


def _of(
    title: str,
    frames: Mapping[str, pd.DataFrame],
    name: str,
    shown: Callable[[pd.DataFrame], pd.DataFrame],
    text: str,
    pictures: tuple[tuple[str, str], ...] = (),
) -> Section | None:
    """The section of a table; None where there is no such table."""
    return Section(title, pictures, shown(frames[name]), text) if name in frames else None


def markdown(headlines: Sequence[str], found: Sequence[Section]) -> str:
    """`report.md`."""
    parts = ["# CPPO report", *headlines]
    for section in found:
        table = "" if section.table is None else show.markdown(section.table)
        pictures = [f"![{alt}]({file})" for file, alt in section.pictures]
        parts += [f"## {section.title}", *pictures, table, section.text]
    return "\n\n".join(filter(None, parts)) + "\n"

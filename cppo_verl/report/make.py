"""Writes the report's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from cppo_verl.report import evaluations, html_page, plots, show, tables
from cppo_verl.report.equal import equal_cost
from cppo_verl.report.groups import Group, group_runs
from cppo_verl.report.headline import headlines, percent
from cppo_verl.report.notes import notes
from cppo_verl.report.runs import Run, RunError, read_run
from cppo_verl.report.sections import markdown, sections
from cppo_verl.report.single import single_run
from cppo_verl.report.target import default_target, to_target


@dataclass(frozen=True)
class Report:
    """What is left to say when the files are written."""

    notes: list[str]
    """On the runs, those left out among them."""
    headlines: list[str]
    """A sentence for each row after the first."""


def make_report(folders: Sequence[Path], out: Path, console: Console, target: float | None = None) -> Report:
    """Write `report.md`, `report.html`, tables as CSV and pictures as PNG into `out`, and show the results.

    Args:
        folders: Of the runs; those of the first row are what the others are compared with.
        out: Is made where it is not there.
        console: Shows the tables.
        target: Accuracy in per cent, for the time to accuracy; by default 95 % of what the first row ends at.

    Raises:
        RunError: There is no run to report of; a line says why of each folder.
    """
    runs, left_out = _read(folders)
    groups = group_runs(runs)
    out.mkdir(parents=True, exist_ok=True)
    found, unreadable = evaluations.read_evaluations([run for group in groups for run in group.runs])
    frames = _frames(groups, default_target(groups) if target is None else target / 100)
    if found:
        frames["evaluations"] = evaluations.table(found)
    for name, frame in frames.items():
        frame.to_csv(out / f"{name}.csv", index=False)
    remarks, said = [*left_out, *notes(groups), *unreadable], headlines(frames["time_to_accuracy"], frames["results"])
    contents = sections(groups, frames, remarks, with_kinds=_draw(groups, frames, out))
    (out / "report.md").write_text(markdown(said, contents))
    (out / "report.html").write_text(html_page.page(said, contents, groups, frames))
    _print(frames, console)
    console.print(f"report: {out / 'report.md'}, {out / 'report.html'}", soft_wrap=True, highlight=False)
    return Report(remarks, said)


def _frames(groups: Sequence[Group], target: float) -> dict[str, pd.DataFrame]:
    """The tables as numbers, by the name of their CSV file; those without a row are left out where they may be."""
    always = {
        "results": tables.results(groups),
        "time_to_accuracy": to_target(groups, target),
        "time_split": tables.time_split(groups),
        "accounting": tables.accounting(groups),
        "kinds": tables.kinds(groups),
        "curves": pd.concat({g.label: g.curves() for g in groups}, names=["label"]).reset_index(),
    }
    rare = {
        "equal_cost": equal_cost(groups) if len(groups) > 1 else pd.DataFrame(),
        "waiting": tables.waiting(groups),
        "single_run": single_run(groups, target),
    }
    return always | {name: frame for name, frame in rare.items() if len(frame)}


def _draw(groups: Sequence[Group], frames: dict[str, pd.DataFrame], out: Path) -> bool:
    """Draw the pictures; returns whether there is one of the four kinds of completion."""
    plots.plot_time_to_accuracy(groups, frames["time_to_accuracy"], out / "time_to_accuracy.png")
    plots.plot_reward(groups, out / "reward.png")
    plots.plot_accuracy(groups, out / "accuracy.png")
    plots.plot_time_split(frames["time_split"], out / "time_split.png")
    return plots.plot_kinds(groups, out / "kinds.png")


def _print(frames: dict[str, pd.DataFrame], console: Console) -> None:
    console.print(show.terminal(show.results(frames["results"]), "results"))
    console.print(show.terminal(show.time_split(frames["time_split"]), "where the time went"))
    if "evaluations" in frames:
        console.print(show.terminal(show.evaluations(frames["evaluations"]), "evaluations of the checkpoints"))
    if pd.notna(target := frames["time_to_accuracy"]["target"].iloc[0]):
        console.print(show.terminal(show.to_target(frames["time_to_accuracy"]), f"until {percent(target)} accuracy"))


def _read(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    folders = list({folder.resolve(): folder for folder in folders}.values())
    runs, faults = [], []
    for folder, name in zip(folders, _names(folders), strict=True):
        try:
            runs.append(read_run(folder, name))
        except RunError as error:
            faults.append(str(error))
    if not runs:
        raise RunError("nothing to report: " + "; ".join(faults))
    return runs, [f"left out: {fault}" for fault in faults]


def _names(folders: Sequence[Path]) -> list[str]:
    """The last parts of each path, as many as tell all of them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-depth:]) for p in parts]
        if len(set(names)) == len(names):
            break
    return names

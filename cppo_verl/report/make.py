"""Writes the report's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from cppo_verl.report import evaluations, plots, show, tables
from cppo_verl.report.groups import Group, group_runs
from cppo_verl.report.notes import notes
from cppo_verl.report.runs import Run, RunError, read_run

RESULTS = """\
Accuracy is that of the validation after the last step, on the questions of `data.val_files`. The 95 % interval is
Wilson's over these questions; where a row is the mean of several runs that differ only by seed, its half-widths and
those of Student's over the seeds are added in quadrature, and the fastest and the slowest run stand beside the mean
time. Time is generation and training, without validation and checkpoints. Tokens a second are of prompts and sampled
completions, a device. Memory is the most that the training process of a device had allocated, without the rollout
engine's; on the CPU the most that was resident, libraries included."""

SPLIT = """\
Completions are scored as they finish, while others are still generated: `reward` is only what is left to do after
the last one. On verl's V1 trainers questions are pruned, too, while others are generated: in `generation`. `other` is
the rest of a step."""

ACCOUNTING = """\
Means of a run. With g the first row's seconds that pruning leaves alone and t those of its old and reference
log-probs and its update, the same questions can get (g + t) / (g + t (1 - P)) times faster, and (g + t) / g times if
t were nothing. Time saved is 1 - 1 / ratio, as a share of the same of its bound; above 100 % comes from what the bound
leaves out, such as generating more questions at once, or from noise."""

WAITING = """\
On verl's V1 trainers: the share of the time in which the trainer waits for completions, and in which the rollout engine
has none to sample; and by how many updates of the engine's weights a completion is older than the step that trains on
it."""

KINDS = """\
The four kinds of completion of the paper's Table 3, in a run."""


EVALUATIONS = """\
Of the checkpoints, by `cppo-verl evaluate`. A difference is to the first row of the same questions and protocol,
question by question: p is McNemar's exact test and the interval its inverse for one sample a question, else a paired
permutation test and a paired bootstrap. It is a difference of two checkpoints, not of two methods, and p is not
corrected for the number of rows."""


def make_report(folders: Sequence[Path], out: Path, console: Console) -> list[str]:
    """Write `report.md`, tables as CSV and pictures as PNG into `out`, and show the results on the console.

    Returns:
        The notes on the runs, those left out among them.

    Raises:
        RunError: There is no run to report of; a line says why of each folder.
    """
    runs, left_out = _read(folders)
    groups = group_runs(runs)
    out.mkdir(parents=True, exist_ok=True)
    frames = {
        "results": tables.results(groups),
        "time_split": tables.time_split(groups),
        "accounting": tables.accounting(groups),
        "kinds": tables.kinds(groups),
        "curves": pd.concat({g.label: g.curves() for g in groups}, names=["label"]).reset_index(),
    }
    waited = tables.waiting(groups)
    if len(waited):
        frames["waiting"] = waited
    evaluated, unreadable = evaluations.read_evaluations([run for group in groups for run in group.runs])
    if evaluated:
        frames["evaluations"] = evaluations.table(evaluated)
    for name, frame in frames.items():
        frame.to_csv(out / f"{name}.csv", index=False)
    plots.plot_reward(groups, out / "reward.png")
    plots.plot_accuracy(groups, out / "accuracy.png")
    plots.plot_time_split(frames["time_split"], out / "time_split.png")
    with_kinds = plots.plot_kinds(groups, out / "kinds.png")
    remarks = [*left_out, *notes(groups), *unreadable]
    (out / "report.md").write_text(_markdown(groups, frames, remarks, with_kinds))
    console.print(show.terminal(show.results(frames["results"]), "results"))
    console.print(show.terminal(show.time_split(frames["time_split"]), "where the time went"))
    if evaluated:
        console.print(show.terminal(show.evaluations(frames["evaluations"]), "evaluations of the checkpoints"))
    console.print(f"report: {out / 'report.md'}", soft_wrap=True, highlight=False)
    return remarks


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


def _markdown(groups: Sequence[Group], frames: dict[str, pd.DataFrame], remarks: list[str], with_kinds: bool) -> str:
    parts = [
        "# CPPO report",
        show.markdown(show.results(frames["results"])),
        RESULTS,
        "## Notes" if remarks else "",
        "\n".join(f"- {remark}" for remark in remarks),
        *(_evaluations(frames["evaluations"]) if "evaluations" in frames else []),
        "## Where the time went",
        show.markdown(show.time_split(frames["time_split"])),
        SPLIT,
        "![Seconds of a run by phase](time_split.png)",
        "## Curves",
        "![Reward of all sampled completions against questions, optimiser steps and time](reward.png)",
        "![Validation accuracy against questions, optimiser steps and time](accuracy.png)",
        "## What was computed",
        show.markdown(show.accounting(frames["accounting"])),
        ACCOUNTING,
        *(_waiting(frames["waiting"]) if "waiting" in frames else []),
        *(_kinds(frames["kinds"]) if with_kinds else []),
        "## Runs",
        show.markdown(show.runs(groups)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _waiting(table: pd.DataFrame) -> list[str]:
    return ["## Who waited for whom", show.markdown(show.waiting(table)), WAITING]


def _kinds(table: pd.DataFrame) -> list[str]:
    picture = "![Completions of the four kinds by step, sampled and kept](kinds.png)"
    return ["## The four kinds of completion", show.markdown(show.kinds(table)), KINDS, picture]


def _evaluations(table: pd.DataFrame) -> list[str]:
    return ["## Evaluations", show.markdown(show.evaluations(table)), EVALUATIONS]

"""The report's pictures: one colour a group in all of them, the legend once a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cppo_verl.algorithm.metrics import KINDS
from cppo_verl.evaluation.statistics import wilson
from cppo_verl.report.groups import Group
from cppo_verl.report.show import kind_name

X_AXES = {
    "questions": "questions sampled",
    "updates": "optimiser steps (mini-batch updates)",
    "seconds": "time: generation + training (s)",
}
"""Column of `Run.curves` to the label of its axis."""

SMOOTHING = 64, 1 / 20
"""The reward is averaged over so many questions, or this share of the longest run's, whichever is more."""

KIND_COLORS = ("#2b7a4b", "#9ccf8c", "#e3b04b", "#b8524a")


def plot_reward(groups: Sequence[Group], path: Path) -> None:
    """Mean reward of all sampled completions, unpruned, against questions, updates and time."""
    figure, axes = _three_panels(groups)
    window = smoothing(groups)
    for group, color in zip(groups, _colors(groups), strict=True):
        curves = group.curves().drop(index=0, level="step")
        smoothed = _smooth(curves["reward"].unstack("run"), group, window).stack().swaplevel()
        _draw(axes, curves.assign(reward=smoothed), "reward", group.label, color, marker="")
    axes[0].set_ylabel(f"reward of all sampled completions,\nmean of the last {window} questions")
    _finish(figure, axes, path, [group.label for group in groups if len(group.runs) > 1])


def plot_accuracy(groups: Sequence[Group], path: Path) -> None:
    """Validation accuracy against questions, updates and time."""
    figure, axes = _three_panels(groups)
    for group, color in zip(groups, _colors(groups), strict=True):
        curves = group.curves().dropna(subset="accuracy")
        curves["accuracy"] *= 100
        _draw(axes, curves, "accuracy", group.label, color, marker="o")
        if len(group.runs) == 1 and (total := group.first.num_questions):
            intervals = [wilson(share / 100 * total, total) for share in curves["accuracy"]]
            bars = np.array([(interval.low, interval.high) for interval in intervals]).T * 100
            reach = np.abs(bars - curves["accuracy"].to_numpy())
            for axis, x in zip(axes, X_AXES, strict=True):
                axis.errorbar(curves[x], curves["accuracy"], reach, fmt="none", color=color, alpha=0.5, capsize=2)
    axes[0].set_ylabel("validation accuracy (%)")
    single = any(len(group.runs) == 1 and group.first.num_questions for group in groups)
    bands = [group.label for group in groups if len(group.runs) > 1]
    _finish(figure, axes, path, bands, "bars of a single run: 95 % Wilson interval" if single else "")


def plot_time_split(split: pd.DataFrame, path: Path, what: str = "time of a run: generation + training (s)") -> None:
    """Seconds by phase, a stacked bar a row; `split` is `tables.time_split`, or has its columns."""
    figure = Figure(figsize=(9, 1.6 + 0.45 * len(split)), layout="constrained")
    axes, left = figure.subplots(), np.zeros(len(split))
    for phase, color in zip(split.columns[1:], matplotlib.color_sequences["Set3"], strict=False):  # twelve
        axes.barh(split["label"], split[phase], left=left, label=phase, color=color)
        left += split[phase].to_numpy()
    axes.invert_yaxis()
    axes.set_xlabel(what)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=4)
    figure.savefig(path, dpi=150)


def plot_kinds(groups: Sequence[Group], path: Path) -> bool:
    """The four kinds of completion (paper Table 3) by step, sampled and kept; False where none logged them."""
    logged = [group for group in groups if f"cppo/kinds/{next(iter(KINDS))}/kept" in group.first.steps]
    if not logged:
        return False
    figure = Figure(figsize=(9, 1 + 2.1 * len(logged)), layout="constrained")
    panels, window = figure.subplots(len(logged), 2, squeeze=False), smoothing(groups)
    for group, row in zip(logged, panels, strict=True):
        for axes, what in zip(row, ("sampled", "kept"), strict=True):
            areas = [_smooth(_by_step(group, f"cppo/kinds/{kind}/{what}"), group, window) for kind in KINDS]
            axes.stackplot(areas[0].index, areas, colors=KIND_COLORS, labels=[kind_name(kind) for kind in KINDS])
            axes.set_title(f"{group.label}: {what}", fontsize=10)
            axes.margins(x=0, y=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        row[0].set_ylabel("completions a step")
    figure.get_layout_engine().set(h_pad=0.1)
    for axes in panels[-1]:
        axes.set_xlabel(f"training step (mean of the last {window} questions)")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.savefig(path, dpi=150)
    return True


def smoothing(groups: Sequence[Group]) -> int:
    """Questions that rewards are averaged over, the same for every group."""
    least, share = SMOOTHING
    return max(least, round(share * max(group.total("cppo/questions") for group in groups)))


def _smooth(by_step: pd.DataFrame | pd.Series, group: Group, questions: int) -> pd.DataFrame | pd.Series:
    steps = max(1, round(questions / group.first.plan.questions))
    return by_step.rolling(steps, min_periods=1).mean()


def _by_step(group: Group, column: str) -> pd.Series:
    """Mean over the runs, as far as all got."""
    return pd.concat([run.steps[column] for run in group.runs], axis=1).dropna().mean(axis=1)


def _three_panels(groups: Sequence[Group]) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(13, 4 + 0.2 * (len(groups) // 4)), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    for axis, label in zip(axes, X_AXES.values(), strict=True):
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    return figure, axes


def _draw(axes: Sequence[Axes], curves: pd.DataFrame, y: str, label: str, color: tuple, marker: str) -> None:
    """Mean over the runs at each step, and the band from the lowest to the highest."""
    by_step = curves.groupby("step")
    for axis, x in zip(axes, X_AXES, strict=True):
        where = by_step[x].mean()
        axis.plot(where, by_step[y].mean(), marker=marker, markersize=4, label=label, color=color)
        if by_step.size().max() > 1:
            axis.fill_between(where, by_step[y].min(), by_step[y].max(), color=color, alpha=0.2, linewidth=0)


def _finish(figure: Figure, axes: Sequence[Axes], path: Path, bands: Sequence[str], remark: str = "") -> None:
    remarks = [*(["band: lowest to highest of the seeds, line: their mean"] if bands else []), remark]
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels) if len(labels) < 5 else 3)
    figure.supxlabel("; ".join(filter(None, remarks)), fontsize=9)
    figure.savefig(path, dpi=150)


def _colors(groups: Sequence[Group]) -> list[tuple]:
    return [matplotlib.color_sequences["tab10" if len(groups) <= 10 else "tab20"][i % 20] for i in range(len(groups))]

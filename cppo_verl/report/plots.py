"""The report's pictures: one colour a group in all of them, the legend once a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cppo_verl.algorithm.metrics import KINDS
from cppo_verl.report.curves import X_AXES, accuracy_line, reward_line, smooth, smoothing
from cppo_verl.report.groups import Group
from cppo_verl.report.show import kind_name

KIND_COLORS = ("#2b7a4b", "#9ccf8c", "#e3b04b", "#b8524a")

CHARACTERS_PER_INCH = 12
CHARACTERS_OF_A_LINE = 7
"""In a legend: the line before a label, and the gap after it."""


def plot_time_to_accuracy(groups: Sequence[Group], table: pd.DataFrame, path: Path) -> None:
    """Validation accuracy against time, and where each row reaches the target; `table` is `target.to_target`."""
    figure = Figure(figsize=(9, 4.3), layout="constrained")
    axes, target = figure.subplots(), table["target"].iloc[0]
    lines = [accuracy_line(group) for group in groups]
    for group, line, color, seconds in zip(groups, lines, _colors(groups), table["seconds"], strict=True):
        _draw([axes], ["seconds"], line, group, color, marker="o")
        if np.isfinite(seconds):
            axes.plot([seconds, seconds], [0, target], color=color, linestyle=":", linewidth=1.5)
    if np.isfinite(target):
        axes.axhline(target, color="0.3", linestyle="--", linewidth=1, label=f"target: {target:.1f} %")
    drawn = pd.concat(lines)[["mean", "low", "high"]].stack().dropna()
    if len(drawn):
        room = max(0.05 * (drawn.max() - drawn.min()), 1)
        axes.set_ylim(max(0, drawn.min() - room), min(100, drawn.max() + room))
    axes.set_xlim(left=0)
    _label([axes], ["seconds"], "validation accuracy (%)")
    _finish(figure, [axes], path, _bands(groups))


def plot_reward(groups: Sequence[Group], path: Path) -> None:
    """Mean reward of all sampled completions, unpruned, against time, questions and updates."""
    figure, axes = _three_panels()
    window = smoothing(groups)
    for group, color in zip(groups, _colors(groups), strict=True):
        _draw(axes, X_AXES, reward_line(group, window), group, color, marker="")
    _label(axes, X_AXES, f"reward of all sampled completions,\nmean of the last {window} questions")
    _finish(figure, axes, path, _bands(groups))


def plot_accuracy(groups: Sequence[Group], path: Path) -> None:
    """Validation accuracy against time, questions and updates."""
    figure, axes = _three_panels()
    for group, color in zip(groups, _colors(groups), strict=True):
        line = accuracy_line(group)
        _draw(axes, X_AXES, line, group, color, marker="o")
        if len(group.runs) == 1 and line["low"].notna().any():
            reach = np.abs(line[["low", "high"]].to_numpy().T - line["mean"].to_numpy())
            for axis, x in zip(axes, X_AXES, strict=True):
                axis.errorbar(line[x], line["mean"], reach, fmt="none", color=color, alpha=0.5, capsize=2)
    _label(axes, X_AXES, "validation accuracy (%)")
    single = any(len(group.runs) == 1 and group.first.num_questions for group in groups)
    _finish(figure, axes, path, [*_bands(groups), *(["bars of a single run: 95 % Wilson interval"] if single else [])])


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
            areas = [smooth(_by_step(group, f"cppo/kinds/{kind}/{what}"), group, window) for kind in KINDS]
            axes.stackplot(areas[0].index, areas, colors=KIND_COLORS, labels=[kind_name(kind) for kind in KINDS])
            axes.set_title(f"{group.label}: {what}", fontsize=10)
            axes.margins(x=0, y=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        row[0].set_ylabel("completions a step")
    figure.get_layout_engine().set(h_pad=0.1)
    for axes in panels[-1]:
        axes.set_xlabel(f"training step (mean of the last {window} questions)")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.savefig(path, dpi=150 if len(logged) <= 6 else 90)
    return True


def _by_step(group: Group, column: str) -> pd.Series:
    """Mean over the runs, as far as all got."""
    return pd.concat([run.steps[column] for run in group.runs], axis=1).dropna().mean(axis=1)


def _three_panels() -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    return figure, figure.subplots(1, 3, sharey=True)


def _draw(axes: Iterable[Axes], xs: Iterable[str], line: pd.DataFrame, group: Group, color: tuple, marker: str) -> None:
    """A line of `curves`, and of several runs the band from the lowest to the highest."""
    for axis, x in zip(axes, xs, strict=True):
        axis.plot(line[x], line["mean"], marker=marker, markersize=4, label=group.label, color=color)
        if len(group.runs) > 1:
            axis.fill_between(line[x], line["low"], line["high"], color=color, alpha=0.2, linewidth=0)


def _label(axes: Sequence[Axes], xs: Iterable[str], y: str) -> None:
    axes[0].set_ylabel(y)
    for axis, x in zip(axes, xs, strict=True):
        axis.set_xlabel(X_AXES[x])
        axis.grid(alpha=0.3)


def _bands(groups: Sequence[Group]) -> list[str]:
    several = any(len(group.runs) > 1 for group in groups)
    return ["band: lowest to highest of the seeds, line: their mean"] if several else []


def _finish(figure: Figure, axes: Sequence[Axes], path: Path, remarks: Sequence[str]) -> None:
    handles, labels = axes[0].get_legend_handles_labels()
    size = 10 if len(labels) <= 8 else 8
    columns = legend_columns(labels, figure.get_figwidth() * 10 / size)
    figure.set_figheight(figure.get_figheight() + 0.022 * size * -(-len(labels) // columns))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, fontsize=size)
    figure.supxlabel("; ".join(remarks), fontsize=9)
    figure.savefig(path, dpi=150)


def legend_columns(labels: Sequence[str], width: float) -> int:
    """How many columns of these labels, of 10 points, fit on a figure of `width` inches."""
    longest = max(map(len, labels), default=0)
    return max(1, min(len(labels), int(width * CHARACTERS_PER_INCH // (longest + CHARACTERS_OF_A_LINE))))


def _colors(groups: Sequence[Group]) -> list[tuple]:
    return [matplotlib.color_sequences["tab10" if len(groups) <= 10 else "tab20"][i % 20] for i in range(len(groups))]

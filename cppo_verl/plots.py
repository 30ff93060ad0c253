"""Pictures of runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from cppo_verl.summary import RunSummary

AXES = {
    "questions": ("cppo/questions", "questions consumed"),
    "time": ("timing_s/step", "time: generation + training (s)"),
}
"""File name to the metric that is summed along the x axis, and its label."""

SMOOTHING_QUESTIONS = 64
"""The reward is averaged over about so many questions, the same for every method."""


def plot_reward(runs: Sequence[RunSummary], folder: Path) -> list[Path]:
    """Mean reward of all sampled completions against questions and against time, a PNG each."""
    return [
        _reward_against(runs, metric, label, folder / f"reward_vs_{name}.png") for name, (metric, label) in AXES.items()
    ]


def _reward_against(runs: Sequence[RunSummary], metric: str, label: str, path: Path) -> Path:
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for run in runs:
        window = max(1, round(SMOOTHING_QUESTIONS / run.plan.questions))
        reward = run.steps["cppo/sampled/reward"].rolling(window, min_periods=1).mean()
        legend = run.method if run.method == "GRPO" else f"{run.method}, P = {run.pruning_rate:g}"
        axes.plot(run.steps[metric].cumsum(), reward, marker=".", label=legend)
    axes.set(
        xlabel=label, ylabel=f"reward of all sampled completions (0 to 3),\nmean of {SMOOTHING_QUESTIONS} questions"
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path

"""What the runs of a benchmark measured, a row an arm."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cppo_verl.bench.study import GRPO
from cppo_verl.report.log import read_metrics
from cppo_verl.report.runs import PEAK_MEMORY
from cppo_verl.report.split import PHASES, Split
from cppo_verl.studies.study import Run

WARM_UP = 1
"""Steps of a run that are not measured."""
FORWARDS = {"old": "old log-prob", "ref": "ref log-prob", "update": "update"}
"""Name of a forward in `cppo/fill/*` to its phase."""


def measure(runs: Sequence[Run]) -> pd.DataFrame:
    """A row an arm, in order, of runs that are complete.

    Returns:
        `seconds` a question, the median over all measured steps, and by phase (their mean); `ratio` to our GRPO of the
        same round, the median over the rounds, with the lowest and the highest; the `bound` that GRPO's phases give at
        this P, and which share of it was `reached`; tokens a second of generation and of each forward, prompts
        counted with every completion, and once for all passes of an update; `fill` of its micro-batches;
        `imbalance`, the tokens of the fullest rank over the mean; `memory` of the fullest rank, GiB.
    """
    arms = list(dict.fromkeys(run.arm for run in runs))
    by_run = {(run.arm, run.seed): _steps(run) for run in runs}
    seconds = pd.Series({key: steps["seconds"].median() for key, steps in by_run.items()})
    ratios = seconds[GRPO] / seconds.unstack()
    steps = {arm: pd.concat(by_run[run.arm, run.seed] for run in runs if run.arm == arm) for arm in arms}
    grpo = _split(steps[GRPO])
    rates = {run.arm: float(run.config.cppo.pruning_rate) for run in runs}
    rows = []
    for arm in arms:
        measured, ratio = steps[arm], ratios.loc[arm]
        bound = grpo.bound(rates[arm])
        rows.append(
            {
                "arm": arm,
                "seconds": measured["seconds"].median(),
                "ratio": ratio.median(),
                "ratio low": ratio.min(),
                "ratio high": ratio.max(),
                "bound": bound,
                "reached": ratio.median() / bound,
            }
            | _split(measured).seconds
            | _speeds(measured)
        )
    return pd.DataFrame(rows)


def _steps(run: Run) -> pd.DataFrame:
    """The measured steps of a run, times a question."""
    logged = read_metrics(run.folder)
    logged = logged[logged["timing_s/step"].notna()].iloc[WARM_UP:]
    if "cppo/questions" not in logged:  # verl's own
        tokens = logged["perf/total_num_tokens"]
        questions = run.config.data.train_batch_size
        logged = logged.assign(
            **{"cppo/questions": questions, "cppo/tokens_sampled": tokens, "cppo/tokens_trained": tokens}
        )
    return logged.assign(seconds=logged["timing_s/step"] / logged["cppo/questions"])


def _split(steps: pd.DataFrame) -> Split:
    """Seconds a question by phase; they add up to the mean of a step's."""
    return Split.of(steps).per(steps["cppo/questions"].sum())


def _speeds(steps: pd.DataFrame) -> dict[str, float]:
    """Tokens a second, fill, imbalance and memory."""
    timers = {name: f"timing_s/{PHASES[phase][0]}" for name, phase in FORWARDS.items()}
    found = {"tokens/s generation": steps["cppo/tokens_sampled"].sum() / steps["timing_s/gen"].sum()}
    for name, timer in timers.items():
        if timer in steps:
            found[f"tokens/s {name}"] = steps["cppo/tokens_trained"].sum() / steps[timer].sum()
            if f"cppo/fill/{name}" in steps:
                found[f"fill {name}"] = steps[f"cppo/fill/{name}"].mean()
    if "global_seqlen/balanced_max" in steps:
        found["imbalance"] = (steps["global_seqlen/balanced_max"] / steps["global_seqlen/mean"]).mean() - 1
    return found | {"memory": steps.filter(regex=PEAK_MEMORY).max().max()}

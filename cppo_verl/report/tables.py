"""The report's tables as numbers, a row a group of runs; `show.py` writes them out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cppo_verl.algorithm.metrics import KINDS
from cppo_verl.evaluation.statistics import wilson
from cppo_verl.report import stats
from cppo_verl.report.groups import Group, method, options, trainer
from cppo_verl.report.runs import Run
from cppo_verl.report.split import Split

FORWARDS = {"old": "old_log_prob", "ref": "ref", "update": "update_actor"}
"""Forward to its timer: a step without it did not run it."""


def results(groups: Sequence[Group]) -> pd.DataFrame:
    """The published table (paper Tables 1 and 2): accuracies and their 95 % interval in percent, time in seconds.

    A row is the mean over its runs. The interval is Wilson's over the validation questions; of `stats.MIN_SEEDS` runs
    or more its half-widths and Student's over the seeds are added in quadrature, so that neither the questions' nor the
    seeds' chance is left out. Of fewer there is none, nor where it would reach from 0 to 100. `seconds low` and `high`
    are the fastest and the slowest run's. The ratio is of the time a question, to the first row. `tokens/s` is verl's
    `perf/throughput` over the whole run: tokens of prompts and sampled completions a second and device. `memory` is the
    highest `Run.peak_memory`, in GiB.
    """
    table = pd.DataFrame([_result(group) for group in groups])
    per_question = table["seconds"] / table["questions"]
    return table.assign(ratio=per_question.iloc[0] / per_question)


def _result(group: Group) -> dict[str, float | str]:
    plan, accuracy = group.first.plan, group.mean(last_accuracy)
    low, high = _accuracy_interval(group)
    return {
        "label": group.label,
        "method": method(group.first),
        "options": options(group.first),
        "G": plan.rollout_n,
        "P": group.rate,
        "k": plan.keep,
        "runs": len(group.furthest),
        "questions": group.total("cppo/questions"),
        "steps": group.mean(lambda run: run.last_step),
        "accuracy before": 100 * group.mean(accuracy_before),
        "accuracy": 100 * accuracy,
        "accuracy low": 100 * low,
        "accuracy high": 100 * high,
        "seconds": group.mean(lambda run: run.seconds),
        "seconds low": min(run.seconds for run in group.furthest),
        "seconds high": max(run.seconds for run in group.furthest),
        "tokens/s": group.mean(lambda run: run.mean_over_time("perf/throughput")),
        "memory": max(run.peak_memory for run in group.furthest),
    }


def last_accuracy(run: Run) -> float | None:
    """Of the trained model: None where the run was not validated after its last step."""
    return run.accuracy.get(run.last_step)


def accuracy_before(run: Run) -> float | None:
    """Of the model that training began with: None where it was not validated."""
    return run.accuracy.get(0)


def _accuracy_interval(group: Group) -> tuple[float, float]:
    values = [last_accuracy(run) for run in group.furthest]
    total = group.furthest[0].num_questions
    if None in values or 1 < len(values) < stats.MIN_SEEDS:
        return stats.NO_INTERVAL
    if not total:
        return stats.NO_INTERVAL if len(values) == 1 else stats.within_0_and_1(*stats.mean_interval(values))
    questions = wilson(np.mean(values) * total, total)
    if len(values) == 1:
        return questions.low, questions.high
    mean, (low, high) = float(np.mean(values)), stats.mean_interval(values)
    low, high = mean - np.hypot(mean - low, mean - questions.low), mean + np.hypot(high - mean, questions.high - mean)
    return stats.within_0_and_1(low, high)


def time_split(groups: Sequence[Group]) -> pd.DataFrame:
    """Mean seconds of a run by phase."""
    return pd.DataFrame([{"label": group.label} | group.phases().to_dict() for group in groups])


def accounting(groups: Sequence[Group]) -> pd.DataFrame:
    """What was sampled, kept and computed in a run, mean over the runs, and how near the ratio is to its bound.

    `tokens update` counts every PPO epoch, and so do the updates; `updates an epoch` are those of a pass over the
    training questions, and the size of an update is the planned one. The bounds take g and t from the first row's
    split, which must be one of P = 0; they are NaN for rows of another G or on another of verl's trainers, and where
    nothing is pruned.
    """
    split = Split(groups[0].phases().to_dict())
    n = groups[0].first.plan.rollout_n
    bounded = [
        groups[0].rate == 0 < group.rate
        and group.first.plan.rollout_n == n
        and trainer(group.first) == trainer(groups[0].first)
        for group in groups
    ]
    table = pd.DataFrame([{"label": group.label} | _counts(group) for group in groups]).assign(
        ratio=results(groups)["ratio"],
        bound=[split.bound(group.rate) for group in groups],
        limit=split.bound(1),
    )
    table[["bound", "limit"]] = table[["bound", "limit"]].where(pd.Series(bounded), axis=0)
    saved = 1 - 1 / table["ratio"]
    return table.assign(reached=saved / (1 - 1 / table["bound"]), reached_limit=saved / (1 - 1 / table["limit"]))


def _counts(group: Group) -> dict[str, float]:
    return {
        "questions": group.total("cppo/questions"),
        "zero-variance questions": group.total("cppo/zero_variance_questions"),
        "completions sampled": group.total("cppo/completions_sampled"),
        "completions kept": group.total("cppo/completions_kept"),
        "tokens sampled": group.total("cppo/tokens_sampled"),
        "tokens kept": group.total("cppo/tokens_trained"),
        **{f"tokens {name}": group.mean(lambda run, name=name: forward_tokens(run, name)) for name in FORWARDS},
        **{f"padding {name}": group.mean(lambda run, name=name: padding_tokens(run, name)) for name in FORWARDS},
        "optimiser updates": group.mean(lambda run: run.updates().sum()),
        "updates an epoch": group.mean(lambda run: run.mean("cppo/updates_per_epoch")),
        "rows an update": group.first.plan.mini_batch_rows,
        "questions an update": float(group.first.plan.questions_per_update),
    }


def forward_tokens(run: Run, forward: str) -> float | None:
    """Prompt and response tokens through one of the `FORWARDS`, without padding."""
    tokens = _where_run(run, forward, "cppo/tokens_trained")
    epochs = run.config.actor_rollout_ref.actor.ppo_epochs if forward == "update" else 1
    return None if tokens is None else epochs * tokens


def padding_tokens(run: Run, forward: str) -> float | None:
    """Padding tokens through one of the `FORWARDS`; None where it was not logged."""
    return _where_run(run, forward, f"cppo/padding/{forward}")


def _where_run(run: Run, forward: str, column: str) -> float | None:
    timer = f"timing_s/{FORWARDS[forward]}"
    if timer not in run.steps:
        return 0
    return None if column not in run.steps else run.steps[column].where(run.steps[timer].notna()).sum()


def waiting(groups: Sequence[Group]) -> pd.DataFrame:
    """Waiting on verl's V1 trainers, and how old the completions were; groups of V0 are left out.

    Idle is the share of the steps' time: of the trainer, for completions; of the engine, with none to sample. Staleness
    is in updates of the engine's weights between a completion's start and its training.
    """
    stale = "training/off_policy/trajectory_staleness_worst"
    rows = [
        {
            "label": group.label,
            "trainer idle": group.mean(lambda run: run.mean_over_time("cppo/idle/trainer")),
            "engine idle": group.mean(lambda run: run.mean_over_time("cppo/idle/engine")),
            "staleness": group.mean(lambda run: run.mean(f"{stale}/mean")),
            "oldest": max(run.highest(f"{stale}/max") for run in group.furthest),
        }
        for group in groups
        if all(run.mean("cppo/idle/trainer") is not None for run in group.furthest)
    ]
    return pd.DataFrame(rows)


def kinds(groups: Sequence[Group]) -> pd.DataFrame:
    """Completions of the four kinds of paper Table 3 in a run: sampled and kept, a row a group and kind.

    Groups that did not log them are left out.
    """
    rows = [
        {
            "label": group.label,
            "kind": kind,
            "sampled": group.total(f"cppo/kinds/{kind}/sampled"),
            "kept": group.total(f"cppo/kinds/{kind}/kept"),
        }
        for group in groups
        for kind in KINDS
    ]
    table = pd.DataFrame(rows).dropna().reset_index(drop=True)
    of_all = table["sampled"] / table.groupby("label")["sampled"].transform("sum")
    return table.assign(share=of_all, survived=table["kept"] / table["sampled"])

"""What a reader of the numbers must know about the runs behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from omegaconf import OmegaConf

from cppo_verl.algorithm.metrics import KINDS
from cppo_verl.report.groups import Group, seeds
from cppo_verl.report.runs import Run

CUT, MOSTLY = "response_length/clip_ratio", 0.5
"""verl's metric of the share of completions that are as long as allowed, and the share above which a note says so."""
STARTUP_FACTOR = 3
"""Generation that takes more than so many times the run's median has the engine's start in it."""


def notes(groups: Sequence[Group]) -> list[str]:
    """A sentence or two each, the runs' first."""
    of_runs = [f"{run.name}: {note}" for group in groups for run in group.runs for note in run_notes(run)]
    return [*of_runs, *_group_notes(groups)]


def run_notes(run: Run) -> Iterator[str]:
    """What is unusual about one run."""
    yield from _log_notes(run)
    if run.planned_steps and run.last_step < run.planned_steps:
        why = "its questions were used up" if run.finished else "still going, or interrupted"
        yield f"at step {run.last_step} of {run.planned_steps}: {why}."
    yield from _startup_notes(run)
    yield from _training_notes(run)
    yield from _accuracy_notes(run)
    missing = [
        what
        for what, column in (
            ("the four kinds of completion", f"cppo/kinds/{next(iter(KINDS))}/sampled"),
            ("padding", "cppo/padding/update"),
        )
        if column not in run.steps
    ]
    if missing:
        yield f"did not log {' and '.join(missing)} (an earlier version, or not known there); left empty."


def _log_notes(run: Run) -> Iterator[str]:
    log = run.log
    if log.unfinished:
        yield "the last line of metrics.jsonl is unfinished and was passed over."
    if log.unreadable:
        yield f"line {_listed(log.unreadable)} of metrics.jsonl cannot be read and was passed over."
    if absent := sorted(set(range(1, run.last_step + 1)) - set(run.steps.index)):
        yield f"step {_listed(absent)} is missing: counts and times are sums over the other steps."
    if log.resumed_after:
        yield f"resumed after step {_listed(log.resumed_after)}; each step is counted once."


def _startup_notes(run: Run) -> Iterator[str]:
    generation = run.steps["timing_s/gen"] if "timing_s/gen" in run.steps else run.steps["timing_s/step"][:0]
    median = generation.median()
    for step in (1, *(after + 1 for after in run.log.resumed_after)):
        seconds = generation.get(step, 0.0)
        if len(generation) > 2 and seconds > STARTUP_FACTOR * median:
            yield (
                f"generation of step {step} took {seconds:.1f} s, the median is {median:.1f} s: the start of the "
                f"engine is probably in it. The run's time is {run.seconds:.1f} s as counted, "
                f"{run.seconds - seconds + median:.1f} s with the median in its place."
            )


def _training_notes(run: Run) -> Iterator[str]:
    """Completions that were cut, and steps that trained on nothing."""
    if CUT in run.steps and (cut := run.steps.index[run.steps[CUT] > MOSTLY].tolist()):
        share, limit = run.steps[CUT][cut].mean(), OmegaConf.select(run.config, "data.max_response_length")
        yield (
            f"{share:.0%} of the completions of step {_listed(cut)} were truncated at "
            f"data.max_response_length={limit}, most of them before their answer: the rewards are of what was left."
        )
    if idle := run.steps.index[run.updates() == 0].tolist():
        yield f"step {_listed(idle)} updated nothing: there were no completions to train on."


def _accuracy_notes(run: Run) -> Iterator[str]:
    if run.accuracy.empty:
        yield "no validation accuracy was logged."
        return
    if run.accuracy.index[-1] < run.last_step:
        yield f"last validated at step {run.accuracy.index[-1]}, before its last step {run.last_step}."
    if run.num_questions is None:
        yield "did not log the number of validation questions (an earlier version): its accuracy has no interval."
    elif run.config.actor_rollout_ref.rollout.val_kwargs.n > 1:
        yield "validated with several samples a question: Wilson's interval counts questions, which is too wide."


def _group_notes(groups: Sequence[Group]) -> Iterator[str]:
    for group in groups:
        if behind := [run.name for run in group.runs if run not in group.furthest]:
            yield (
                f"{group.label}: {', '.join(behind)} made fewer steps than the longest run of the row and is left "
                "out of the tables; the curves end where the shortest does."
            )
        if len(group.runs) > len({seeds(run) for run in group.runs}):
            yield f"{group.label}: some of its runs have the same seeds; their spread is not that of seeds."
    if len({group.total("cppo/questions") for group in groups}) > 1:
        yield "The rows did not take the same number of questions: the ratio is of the time a question."
    if groups[0].rate and any(group.rate for group in groups[1:]):
        yield f"The first row, {groups[0].label}, prunes: its split gives no bound on the ratio. Give GRPO first."


def _listed(numbers: Sequence[int]) -> str:
    """`3, 5-7` for 3, 5, 6, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)

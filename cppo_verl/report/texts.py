"""What the report says under its tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from cppo_verl.report.groups import Group
from cppo_verl.report.stats import MIN_SEEDS

RESULTS = f"""\
Accuracy is that of the validation after the last step, on the questions of `data.val_files`. The 95 % interval is
Wilson's over these questions; where a row is the mean of {MIN_SEEDS} runs or more that differ only by seed, its
half-widths and those of Student's over the seeds are added in quadrature, and the fastest and the slowest run stand
beside the mean time. Time is generation and training, without validation and checkpoints. Tokens a second are of
prompts and sampled completions, a device. Memory is the most that the training process of a device had allocated,
without the rollout engine's; on the CPU the most that was resident, libraries included."""

SINGLE = f"""\
Of rows with {MIN_SEEDS} seeds or more: the mean, and the range in which one more run falls 95 times in 100 (a
prediction interval; of times and ratios on their logarithms, and the means of the two ratios are geometric)."""

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

TARGET = """\
Until the validation accuracy first reaches {target:.1f} %: seconds of generation and training (validation is not
counted), questions sampled and optimiser updates, on straight lines between the validations. `--target` chooses the
accuracy; by default it is 95 % of the one at which the first row's curve ends."""

MEDIANS = """\
A row is the median of its runs. A run that never reaches the target counts as never, and so does the median where half
of the runs do. Intervals over the seeds are of a bootstrap stratified by method, as in rliable: with 3 seeds they are
the range of the runs, which holds the true median three times in four; with 5, 15 times in 16."""

EQUAL = f"""\
Where each row is when the first has spent a quarter, half and all of its time or of its questions (means of its runs),
on straight lines between the validations; with Student's 95 % interval over {MIN_SEEDS} seeds or more. `>=` marks rows
whose runs were over before: it is the accuracy that they ended at, and they could have trained on."""

NO_ACCURACY = "The first row logged no validation accuracy: there is no target to reach."


def time_to_accuracy(groups: Sequence[Group], table: pd.DataFrame) -> str:
    """What the table of `target.to_target` holds, and what to beware of in this one."""
    parts = [TARGET.format(target=table["target"].iloc[0])]
    if (table["runs"] > 1).any():
        parts.append(MEDIANS)
    if few := _listed(table, table["runs"] < MIN_SEEDS):
        parts.append(f"Fewer than {MIN_SEEDS} seeds are too few for an interval over the seeds: {few}.")
    if coarse := _listed(table, table["validations"] < 3):
        parts.append(
            f"Hardly validated during training, so that their times are read off one straight line: {coarse}. "
            "`cppo.val_every_questions` validates more often."
        )
    if there := _listed(table, table["start"] >= table["target"]):
        parts.append(f"At the target before training: {there}; a higher `--target` would say more.")
    if subset := _subset(groups):
        parts.append(subset)
    return "\n".join(parts)


def _subset(groups: Sequence[Group]) -> str:
    """Whether the curves are of fewer questions than the last validation."""
    asked = [run.validations.query("subset")["questions"].max() for group in groups for run in group.runs]
    if not (known := [count for count in asked if count > 0]):
        return ""
    return (
        f"Validations during training ask a fixed subset ({max(known):.0f} questions): curves, target and times are of "
        "the subset, the accuracy under Results is of all questions."
    )


def _listed(table: pd.DataFrame, which: Iterable[bool]) -> str:
    return "; ".join(table["label"][which])

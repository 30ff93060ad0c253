"""The report's tables as a person reads them: rounded, with units, empty where a number is not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from rich.table import Table

from cppo_verl.report import cells, stats
from cppo_verl.report.groups import Group


def results(table: pd.DataFrame) -> pd.DataFrame:
    """`tables.results`, a row a group; columns that say nothing are left out."""
    options = table["options"].fillna("")  # of a CSV file
    shown = pd.DataFrame(
        {
            "method": table["method"],
            "options": options,
            "G": table["G"].astype(str),
            "P": table["P"].map("{:g}".format),
            "k": table["k"].astype(str),
            "runs": table["runs"].astype(str),
            "questions": table["questions"].map(cells.count),
            "steps": table["steps"].map(cells.count),
            "accuracy before (%)": table["accuracy before"].map(cells.one_decimal),
            "accuracy (%) [95 % interval]": cells.accuracies(table),
            "time (s)": [
                cells.spread(*row) for row in table[["runs", "seconds", "seconds low", "seconds high"]].values
            ],
            "ratio": table["ratio"].map(cells.times),
            "tokens/s": table["tokens/s"].map(cells.one_decimal),
            "memory (GiB)": table["memory"].map(cells.one_decimal),
        }
    )
    idle = [
        *(["options"] if not options.any() else []),
        *(["runs"] if (table["runs"] == 1).all() else []),
        *(["accuracy before (%)"] if table["accuracy before"].isna().all() else []),
        *(["tokens/s"] if table["tokens/s"].isna().all() else []),
        *(["memory (GiB)"] if table["memory"].isna().all() else []),
    ]
    shown = shown.drop(columns=idle)
    if table.duplicated(["method", "options", "G", "P"]).any():  # of other models, say
        shown.insert(0, "run", table["label"])
    return shown


def to_target(table: pd.DataFrame) -> pd.DataFrame:
    """`target.to_target`, a row a group."""
    kept = "" if (table["runs"] < stats.MIN_SEEDS).all() else " [95 % interval]"
    there = zip(table["reached"], table["runs"], strict=True)
    return pd.DataFrame(
        {
            "run": table["label"],
            "reached by": [f"{reached} of {runs}" for reached, runs in there],
            f"time (s){kept}": cells.costs(table, "seconds", cells.one_decimal),
            f"questions{kept}": cells.costs(table, "questions", cells.count),
            f"updates{kept}": cells.costs(table, "updates", cells.count),
            f"sooner than the first{kept}": cells.costs(table, "speed-up", _sooner, infinite="\N{INFINITY}"),
        }
    )


def _sooner(times: float) -> str:
    return cells.times(times) if times else cells.NEVER


def equal_cost(table: pd.DataFrame) -> pd.DataFrame:
    """`equal.equal_cost`, a row a group and a column for each amount that the first row had spent."""
    unit = {"seconds": "s", "questions": "questions"}
    amounts = [f"{spent:,.0f}" if spent >= 10 else f"{spent:.3g}" for spent in table["spent"]]  # none like another
    heading = [f"{amount} {unit[cost]}" for amount, cost in zip(amounts, table["cost"], strict=True)]
    marks = table["ended"].map({True: ">= ", False: ""})
    cell = [mark + shown for mark, shown in zip(marks, cells.intervals(table, "accuracy"), strict=True)]
    wide = table.assign(heading=heading, cell=cell).pivot(index="label", columns="heading", values="cell")
    order = wide.loc[table["label"].unique(), list(dict.fromkeys(heading))]
    return order.rename_axis("accuracy (%) after", axis=0).rename_axis(None, axis=1).reset_index()


def single_run(table: pd.DataFrame) -> pd.DataFrame:
    """`single.single_run`, a row a group: mean (95 % range of a single run)."""
    styles = {
        "accuracy (%)": ("accuracy", cells.one_decimal),
        "time (s)": ("seconds", cells.one_decimal),
        "ratio": ("ratio", cells.times),
        "time to the target (s)": ("to target", cells.one_decimal),
        "sooner than the first": ("speed-up", cells.times),
    }
    ranges = {heading: cells.ranges(table, name, style) for heading, (name, style) in styles.items()}
    return pd.DataFrame({"run": table["label"], "runs": table["runs"].astype(str), **ranges})


def time_split(table: pd.DataFrame) -> pd.DataFrame:
    """`tables.time_split` in seconds, with their sum."""
    seconds = table.set_index("label")
    seconds = seconds if seconds["critic"].any() else seconds.drop(columns="critic")
    return seconds.assign(total=seconds.sum(axis=1)).map("{:.1f}".format).rename_axis("time (s)").reset_index()


def accounting(table: pd.DataFrame) -> pd.DataFrame:
    """`tables.accounting`, a column a group."""
    columns = table.set_index("label")
    tokens = columns[[f"tokens {name}" for name in ("old", "ref", "update")]].sum(axis=1)
    padding = columns[[f"padding {name}" for name in ("old", "ref", "update")]].sum(axis=1, skipna=False)
    flat, questions = columns["zero-variance questions"], columns["questions"]
    counts = {
        "completions sampled": columns["completions sampled"],
        "completions kept": columns["completions kept"],
        "tokens sampled": columns["tokens sampled"],
        "tokens kept": columns["tokens kept"],
        "tokens through the old forward": columns["tokens old"],
        "tokens through the reference forward": columns["tokens ref"],
        "tokens through the update (every PPO epoch)": columns["tokens update"],
        **{name: columns[name] for name in ("optimiser updates", "updates an epoch", "rows an update")},
    }
    ratios = {
        "bound on the ratio at this P": columns["bound"].map(cells.times),
        "bound if the forwards cost nothing": columns["limit"].map(cells.times),
        "ratio reached": columns["ratio"].map(cells.times),
        "time saved, of what this P can save": columns["reached"].map(cells.percent),
        "time saved, of the old, reference and update": columns["reached_limit"].map(cells.percent),
    }
    shown = pd.DataFrame(
        {name: column.map(cells.count) for name, column in counts.items()}
        | {
            "questions an update": columns["questions an update"].map("{:g}".format),
            "padding in the forwards and the update (tokens)": cells.with_share(padding, tokens + padding),
            "zero-variance questions": cells.with_share(flat, questions),
        }
        | ratios
    )
    return shown.T.rename_axis("a run").reset_index().rename_axis(columns=None)


def waiting(table: pd.DataFrame) -> pd.DataFrame:
    """`tables.waiting`: shares of a step, and staleness in weight updates."""
    columns = {
        "trainer idle": ("trainer idle", cells.percent),
        "engine idle": ("engine idle", cells.percent),
        "staleness, mean": ("staleness", cells.one_decimal),
        "oldest": ("oldest", cells.count),
    }
    return _by_run(table, columns)


def kinds(table: pd.DataFrame) -> pd.DataFrame:
    """`tables.kinds`: counts, each kind's share of the sampled, and how much of it survives the pruning."""
    columns = {
        "completion": ("kind", kind_name),
        "sampled": ("sampled", cells.count),
        "share of sampled": ("share", cells.percent),
        "kept": ("kept", cells.count),
        "survives": ("survived", cells.percent),
    }
    return _by_run(table, columns)


def _by_run(table: pd.DataFrame, columns: Mapping[str, tuple[str, Callable]]) -> pd.DataFrame:
    """A table with its runs' labels and some of its columns: heading to the column and how its values are shown."""
    shown = {heading: table[name].map(style) for heading, (name, style) in columns.items()}
    return pd.DataFrame({"run": table["label"], **shown})


def evaluations(table: pd.DataFrame) -> pd.DataFrame:
    """`evaluations.table`: accuracies in percent, differences in points."""
    return pd.DataFrame(
        {
            "benchmark": table["benchmark"],
            "run": table["run"],
            "checkpoint": table["checkpoint"],
            "questions": table["questions"].map(cells.count),
            "samples": table["samples"].map(cells.count),
            "accuracy (%) [95 % interval]": cells.intervals(table, "accuracy"),
            "to the first row (points) [95 % interval]": cells.intervals(table, "difference", "+"),
            "p": ["-" if pd.isna(p) else f"{p:.3g}" for p in table["p"]],
            "truncated": [cells.percent(share / 100) for share in table["truncated"]],
            "tokens": table["tokens"].map(cells.count),
        }
    )


def runs(groups: Sequence[Group]) -> pd.DataFrame:
    """Which run stands in which row, and how far it got."""
    return pd.DataFrame(
        [
            {"row": group.label, "run": run.name, "steps": f"{run.last_step} of {run.planned_steps or cells.UNKNOWN}"}
            for group in groups
            for run in group.runs
        ]
    )


def kind_name(kind: str) -> str:
    """`format right, answer wrong` for `format_right_answer_wrong`."""
    layout, answer = kind.removeprefix("format_").split("_answer_")
    return f"format {layout}, answer {answer}"


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table of a frame of strings."""
    lines = [table.columns, ["---"] * len(table.columns), *table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def terminal(table: pd.DataFrame, title: str) -> Table:
    """A rich table of a frame of strings."""
    shown = Table(*table.columns, title=title)
    for row in table.itertuples(index=False):
        shown.add_row(*map(str, row))
    return shown

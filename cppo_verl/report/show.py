"""The report's tables as a person reads them: rounded, with units, empty where a number is not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from rich.table import Table

from cppo_verl.report import stats
from cppo_verl.report.groups import Group

UNKNOWN = "-"


def results(table: pd.DataFrame) -> pd.DataFrame:
    """`tables.results`, a row a group; columns that say nothing are left out."""
    shown = pd.DataFrame(
        {
            "method": table["method"],
            "options": table["options"],
            "G": table["G"].astype(str),
            "P": table["P"].map("{:g}".format),
            "k": table["k"].astype(str),
            "runs": table["runs"].astype(str),
            "questions": table["questions"].map(_count),
            "steps": table["steps"].map(_count),
            "accuracy before (%)": table["accuracy before"].map(_one_decimal),
            "accuracy (%) [95 % interval]": _accuracies(table),
            "time (s)": [_spread(*row) for row in table[["runs", "seconds", "seconds low", "seconds high"]].values],
            "ratio": table["ratio"].map(_times),
            "tokens/s": table["tokens/s"].map(_one_decimal),
            "memory (GiB)": table["memory"].map(_one_decimal),
        }
    )
    idle = [
        *(["options"] if not table["options"].any() else []),
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
    never_is_unknown = table.assign(**{"speed-up": table["speed-up"].replace(0, np.nan)})
    there = zip(table["reached"], table["runs"], strict=True)
    return pd.DataFrame(
        {
            "run": table["label"],
            "reached by": [f"{reached} of {runs}" for reached, runs in there],
            f"time (s){kept}": _costs(table, "seconds", _one_decimal),
            f"questions{kept}": _costs(table, "questions", _count),
            f"updates{kept}": _costs(table, "updates", _count),
            f"sooner than the first{kept}": _costs(never_is_unknown, "speed-up", _times, infinite="\N{INFINITY}"),
        }
    )


def single_run(table: pd.DataFrame) -> pd.DataFrame:
    """`single.single_run`, a row a group: mean (95 % range of a single run)."""
    styles = {
        "accuracy (%)": ("accuracy", _one_decimal),
        "time (s)": ("seconds", _one_decimal),
        "ratio": ("ratio", _times),
        "time to the target (s)": ("to target", _one_decimal),
        "sooner than the first": ("speed-up", _times),
    }
    ranges = {heading: _ranges(table, name, style) for heading, (name, style) in styles.items()}
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
        "optimiser updates": columns["optimiser updates"],
    }
    ratios = {
        "bound on the ratio at this P": columns["bound"].map(_times),
        "bound if the forwards cost nothing": columns["limit"].map(_times),
        "ratio reached": columns["ratio"].map(_times),
        "time saved, of what this P can save": columns["reached"].map(_percent),
        "time saved, of the old, reference and update": columns["reached_limit"].map(_percent),
    }
    shown = pd.DataFrame(
        {name: column.map(_count) for name, column in counts.items()}
        | {
            "padding in the forwards and the update (tokens)": _with_share(padding, tokens + padding),
            "zero-variance questions": _with_share(flat, questions),
        }
        | ratios
    )
    return shown.T.rename_axis("a run").reset_index().rename_axis(columns=None)


def waiting(table: pd.DataFrame) -> pd.DataFrame:
    """`tables.waiting`: shares of a step, and staleness in weight updates."""
    columns = {
        "trainer idle": ("trainer idle", _percent),
        "engine idle": ("engine idle", _percent),
        "staleness, mean": ("staleness", _one_decimal),
        "oldest": ("oldest", _count),
    }
    return _by_run(table, columns)


def kinds(table: pd.DataFrame) -> pd.DataFrame:
    """`tables.kinds`: counts, each kind's share of the sampled, and how much of it survives the pruning."""
    columns = {
        "completion": ("kind", kind_name),
        "sampled": ("sampled", _count),
        "share of sampled": ("share", _percent),
        "kept": ("kept", _count),
        "survives": ("survived", _percent),
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
            "questions": table["questions"].map(_count),
            "samples": table["samples"].map(_count),
            "accuracy (%) [95 % interval]": _intervals(table, "accuracy"),
            "to the first row (points) [95 % interval]": _intervals(table, "difference", "+"),
            "p": ["-" if pd.isna(p) else f"{p:.3g}" for p in table["p"]],
            "truncated": [_percent(share / 100) for share in table["truncated"]],
            "tokens": table["tokens"].map(_count),
        }
    )


def runs(groups: Sequence[Group]) -> pd.DataFrame:
    """Which run stands in which row, and how far it got."""
    return pd.DataFrame(
        [
            {"row": group.label, "run": run.name, "steps": f"{run.last_step} of {run.planned_steps or UNKNOWN}"}
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


def _count(number: float) -> str:
    return UNKNOWN if pd.isna(number) else f"{number:,.0f}"


def _one_decimal(number: float) -> str:
    return UNKNOWN if pd.isna(number) else f"{number:.1f}"


def _times(number: float) -> str:
    return UNKNOWN if pd.isna(number) else f"{number:.2f}x"


def _percent(share: float) -> str:
    return UNKNOWN if pd.isna(share) else f"{100 * share:.1f} %"


def _intervals(table: pd.DataFrame, column: str, sign: str = "") -> list[str]:
    values = zip(table[column], table[f"{column} low"], table[f"{column} high"], strict=True)
    return [_interval(*numbers, sign) for numbers in values]


def _accuracies(table: pd.DataFrame) -> list[str]:
    """With their intervals, or why several seeds have none."""
    shown = _intervals(table, "accuracy")
    none = table["accuracy low"].isna() & table["accuracy"].notna() & (table["runs"] > 1)
    return [f"{cell} (too few seeds)" if without else cell for cell, without in zip(shown, none, strict=True)]


def _costs(table: pd.DataFrame, name: str, style: Callable[[float], str], infinite: str = "never") -> list[str]:
    """Values with their intervals, where there is one; infinity in a word."""

    def cell(value: float) -> str:
        return infinite if np.isinf(value) else style(value)

    rows = table[[name, f"{name} low", f"{name} high"]].values
    return [cell(value) + ("" if np.isnan(low) else f" [{cell(low)}, {cell(high)}]") for value, low, high in rows]


def _ranges(table: pd.DataFrame, name: str, style: Callable[[float], str]) -> list[str]:
    rows = table[[name, f"{name} low", f"{name} high"]].values
    return [style(value) + ("" if np.isnan(low) else f" ({style(low)} to {style(high)})") for value, low, high in rows]


def _interval(value: float, low: float, high: float, sign: str = "") -> str:
    if pd.isna(value) or pd.isna(low):
        return _one_decimal(value)
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def _spread(runs: float, mean: float, low: float, high: float) -> str:
    return f"{mean:.1f}" if runs == 1 else f"{mean:.1f} ({low:.1f} to {high:.1f})"


def _with_share(part: pd.Series, whole: pd.Series) -> list[str]:
    shown = zip(part, part / whole, strict=True)
    return [UNKNOWN if pd.isna(number) else f"{_count(number)} ({_percent(share)})" for number, share in shown]

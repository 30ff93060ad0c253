"""What a person came for, a sentence for each row after the first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cppo_verl.report import cells

NEARLY = 0.1
"""Share of the first row's questions by which another's may differ without a word, as with `zero_variance=drop`."""


def headlines(reached: pd.DataFrame, results: pd.DataFrame) -> list[str]:
    """`CPPO reached 85 % after 41 s, GRPO after 96 s: 2.3x sooner; at the end 92.6 % and 92.2 %.`

    Args:
        reached: `target.to_target`; its speed-up is given with its interval, where there is one.
        results: `tables.results`, of the same rows.
    """
    if np.isnan(reached["target"].iloc[0]):
        return []
    names = _names(results)
    ends = {"end": results["accuracy"].to_numpy(), "asked": results["questions"].to_numpy()}
    first, *others = reached.assign(name=names, **ends).to_dict("records")
    return [f"{_soonness(row, first)}{_ends(row, first)}." for row in others]


def percent(value: float) -> str:
    """`85 %`, `92.6 %`."""
    return f"{value:.1f}".removesuffix(".0") + " %"


def _names(results: pd.DataFrame) -> Sequence[str]:
    """The method's name where it has one row, else the row's."""
    alone = ~results.duplicated("method", keep=False)
    return results["method"].where(alone, results["label"]).tolist()


def _soonness(row: dict, first: dict) -> str:
    name, base, target = row["name"], first["name"], percent(row["target"])
    mine, theirs = row["seconds"], first["seconds"]
    if np.isnan([mine, theirs]).any():
        return f"Whether {name} or {base} is sooner at {target} is not known: one of them was not validated"
    if mine == theirs == 0:
        return f"Both {name} and {base} were at {target} before training: a higher target would tell them apart"
    if np.isinf([mine, theirs]).all():
        return f"Neither {name} nor {base} reached {target}"
    if np.isinf(mine):
        return f"{name} never reached {target}, {base} did after {_seconds(theirs)}"
    if np.isinf(theirs):
        return f"{name} reached {target} after {_seconds(mine)}, {base} never"
    return f"{name} reached {target} after {_seconds(mine)}, {base} after {_seconds(theirs)}{_ratio(row)}"


def _ratio(row: dict) -> str:
    times, interval = row["speed-up"], (row["speed-up low"], row["speed-up high"])
    if not 0 < times < np.inf:
        return ""
    sooner = times >= 1
    if not sooner:
        times, interval = 1 / times, tuple(1 / end if end else np.inf for end in reversed(interval))
    said = f": {times:.1f}x {'sooner' if sooner else 'later'}" if round(times, 1) > 1 else ": as soon"
    known = np.isfinite(interval).all() and round(times, 1) > 1
    low, high = (f"{end:.1f}x" if end else cells.NEVER for end in interval)
    return said + (f" (95 % interval over the seeds: {low} to {high})" if known else "")


def _ends(row: dict, first: dict) -> str:
    """Where the two end; and after how many questions each, where that is not nearly the same."""
    if np.isnan([row["end"], first["end"]]).any():
        return ""
    mine, theirs = percent(row["end"]), percent(first["end"])
    if abs(row["asked"] - first["asked"]) > NEARLY * first["asked"]:
        mine, theirs = f"{mine} after {row['asked']:.0f} questions", f"{theirs} after {first['asked']:.0f}"
    return f"; at the end {mine} and {theirs}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"

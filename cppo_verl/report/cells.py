"""The cells of the report's tables: numbers with their units and intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

UNKNOWN = "-"
NEVER = "never"
"""Of a target that a run does not reach."""


def count(number: float) -> str:
    """`1,234`."""
    return UNKNOWN if pd.isna(number) else f"{number:,.0f}"


def one_decimal(number: float) -> str:
    """`12.3`."""
    return UNKNOWN if pd.isna(number) else f"{number:.1f}"


def times(number: float) -> str:
    """`1.50x`."""
    return UNKNOWN if pd.isna(number) else f"{number:.2f}x"


def percent(share: float) -> str:
    """`12.3 %`, of a share from 0 to 1."""
    return UNKNOWN if pd.isna(share) else f"{100 * share:.1f} %"


def intervals(table: pd.DataFrame, column: str, sign: str = "") -> list[str]:
    """A column with its `low` and `high`; a sign of "+" says of a difference which way it goes."""
    values = zip(table[column], table[f"{column} low"], table[f"{column} high"], strict=True)
    return [interval(*numbers, sign) for numbers in values]


def accuracies(table: pd.DataFrame) -> list[str]:
    """With their intervals, or why several seeds have none."""
    shown = intervals(table, "accuracy")
    none = table["accuracy low"].isna() & table["accuracy"].notna() & (table["runs"] > 1)
    return [f"{cell} (too few seeds)" if without else cell for cell, without in zip(shown, none, strict=True)]


def costs(table: pd.DataFrame, name: str, style: Callable[[float], str], infinite: str = NEVER) -> list[str]:
    """Values with their intervals, where there is one that says more; infinity in a word."""

    def cell(value: float) -> str:
        return infinite if np.isinf(value) else style(value)

    def with_interval(value: float, low: float, high: float) -> str:
        ends = cell(value) if np.isnan(low) else cell(low), cell(value) if np.isnan(high) else cell(high)
        return cell(value) if set(ends) == {cell(value)} else f"{cell(value)} [{', '.join(ends)}]"

    return [with_interval(*row) for row in table[[name, f"{name} low", f"{name} high"]].values]


def ranges(table: pd.DataFrame, name: str, style: Callable[[float], str]) -> list[str]:
    """A column with its range in round brackets, where there is one."""
    rows = table[[name, f"{name} low", f"{name} high"]].values
    return [style(value) + ("" if np.isnan(low) else f" ({style(low)} to {style(high)})") for value, low, high in rows]


def interval(value: float, low: float, high: float, sign: str = "") -> str:
    """`70.0 [60.4, 78.1]`, or without what is not known."""
    if pd.isna(value) or pd.isna(low):
        return one_decimal(value)
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def spread(runs: float, mean: float, low: float, high: float) -> str:
    """`28.1 (27.0 to 29.5)`, of several runs."""
    return f"{mean:.1f}" if runs == 1 else f"{mean:.1f} ({low:.1f} to {high:.1f})"


def with_share(part: pd.Series, whole: pd.Series) -> list[str]:
    """`1,234 (5.0 %)`."""
    shown = zip(part, part / whole, strict=True)
    return [UNKNOWN if pd.isna(number) else f"{count(number)} ({percent(share)})" for number, share in shown]

"""A run's validations: those of all the validation questions, and the cheaper ones of a fixed subset in between."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from cppo_verl.algorithm.metrics import SUBSET, validation_accuracy

ACCURACY = re.compile(r"val-core/(?P<source>.*)/acc/mean@\d+")


def read_validations(metrics: pd.DataFrame) -> pd.DataFrame:
    """A row a validation, by step.

    Args:
        metrics: A row a step, columns as logged.

    Returns:
        `accuracy` (share of the questions answered right, over all data sources), `questions` (their number; NaN in a
        run of an earlier version, which did not log it) and `subset` (whether only a part of the questions was asked).
    """
    columns = [column for column in metrics if ACCURACY.fullmatch(column)]
    counts = [f"val-aux/{ACCURACY.fullmatch(column)['source']}/num_questions" for column in columns]
    logged = metrics.dropna(subset=columns) if columns else metrics[:0]
    rows = {step: row.dropna().to_dict() for step, row in logged.iterrows()}
    read = {
        "accuracy": [validation_accuracy(row) for row in rows.values()],
        "questions": [sum(row.get(count, np.nan) for count in counts) for row in rows.values()],
        "subset": [SUBSET in row for row in rows.values()],
    }
    return pd.DataFrame(read, index=pd.Index(rows, dtype=int)).astype({"accuracy": float, "questions": float})


def full(validations: pd.DataFrame) -> pd.DataFrame:
    """Those of all questions: what a run ends at."""
    return validations[~validations["subset"].astype(bool)]


def curve(validations: pd.DataFrame) -> pd.DataFrame:
    """Those that make the run's curve: of the same questions all along.

    They are the subset's, where there are any. Those of all questions would make it jump; only the one before training
    stands in where the subset's begin later, as a curve without its origin says when a run got somewhere, not how fast.
    """
    subset = validations["subset"].astype(bool)
    return validations[subset | (validations.index == 0)] if subset.any() else validations

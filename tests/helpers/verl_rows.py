"""Parquet files in verl's schema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd


def write_rows(path: Path, questions: Sequence[str], split: str = "train", **changed: Sequence) -> Path:
    """A row a question, with a gold; `changed` replaces whole columns (None leaves one out)."""
    columns = {
        "data_source": ["openai/gsm8k"] * len(questions),
        "prompt": [[{"role": "user", "content": question}] for question in questions],
        "reward_model": [{"style": "rule", "ground_truth": "4"}] * len(questions),
        "extra_info": [{"split": split}] * len(questions),
    }
    columns = {name: column for name, column in (columns | changed).items() if column is not None}
    pd.DataFrame(columns).to_parquet(path)
    return path

"""The questions of a run: files that cannot be read, questions that may not be validated on, how many there are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet as pq
from omegaconf import DictConfig

from cppo_verl.data.check import MissingFile, RowsError, read_rows, remarks
from cppo_verl.preflight.plan import plan_from_config

SPLITS = "train", "val"
COUNT = "__rollout_n__"
"""A column that verl's V1 agent loop takes for G."""


def paths(files: str | Sequence[str]) -> list[Path]:
    """Of `data.train_files` or `data.val_files`."""
    return [Path(path).expanduser() for path in ([files] if isinstance(files, str) else files)]


def num_train_rows(config: DictConfig) -> int:
    """Questions in the training data, as verl will take them."""
    rows = sum(pq.read_metadata(path).num_rows for path in paths(config.data.train_files))
    limit = config.data.train_max_samples
    return rows if limit < 0 else min(rows, limit)


def planned_steps(config: DictConfig) -> int:
    """Training steps of a run, before any prompt is left out for its length."""
    of_data = _steps_of_data(config)
    return min(config.trainer.total_training_steps or of_data, of_data)


def epoch_faults(config: DictConfig) -> Iterator[str]:
    """Fewer questions than a step takes, or than all steps that are asked for.

    Raises:
        ConfigError: See `StepPlan.steps_per_epoch`.
    """
    of_data, asked, epochs = _steps_of_data(config), config.trainer.total_training_steps, config.trainer.total_epochs
    if asked and asked > of_data:
        yield (
            f"trainer.total_training_steps={asked}, but {epochs} epoch(s) of the training data are {of_data} steps, "
            f"with which the run would end; set it to {of_data} or less, or trainer.total_epochs to "
            f"{math.ceil(asked * epochs / of_data)}"
        )


def _steps_of_data(config: DictConfig) -> int:
    """Whole steps in all epochs."""
    return plan_from_config(config).steps_per_epoch(num_train_rows(config)) * config.trainer.total_epochs


def remarks_on_data(config: DictConfig) -> list[str]:
    """What should be known of a run's data, in which no fault was found."""
    data = config.data
    train, val = ([read_rows(path, data.prompt_key) for path in paths(data[f"{split}_files"])] for split in SPLITS)
    return list(remarks(train, val))


def data_faults(config: DictConfig, split: str) -> Iterator[str]:
    """Rows that a run cannot train or validate on."""
    key = f"{split}_files"
    for path in paths(config.data[key]):
        try:
            read_rows(path, config.data.prompt_key)
            if split == "train" and COUNT in pq.read_schema(path).names:
                yield (
                    f"data.{key}: {path} has a column {COUNT}, by which verl samples a question another number of "
                    "times than actor_rollout_ref.rollout.n, or does not read it; remove it"
                )
        except MissingFile as error:
            hold_out = " --validation 500" if path.name == "validation.parquet" else ""
            yield f"data.{key}: {error}; {config.data_hint}{hold_out}"
        except RowsError as error:
            yield f"data.{key}: {error}"


def held_out_faults(config: DictConfig) -> Iterator[str]:
    """Test questions that the best checkpoint would be chosen on."""
    for path in filter(Path.is_file, paths(config.data.val_files) if config.cppo.get("save_best") else []):
        try:
            rows = pq.read_table(path, columns=["extra_info"]).column("extra_info").to_pylist()
        except (pyarrow.ArrowException, OSError, KeyError):  # another check reports what is unreadable
            continue
        if any(isinstance(row, dict) and row.get("split") == "test" for row in rows):
            yield (
                f"cppo.save_best=true would choose the checkpoint on test questions: data.val_files={path} holds "
                "some; prepare the data with --validation 500 and validate on validation.parquet (mode=save_best)"
            )

"""A reward function of the user's own is tried on a few rows before the run, and put behind what checks its results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from omegaconf import DictConfig, OmegaConf, open_dict

from cppo_verl.preflight.data import SPLITS, paths
from cppo_verl.rewards.own import FILE
from cppo_verl.rewards.trial import Trial, Tried
from cppo_verl.rewards.trying import try_out

OURS = "pkg://cppo_verl."
"""Of the shipped rewards, which are not tried."""
CHECKED = "pkg://cppo_verl.trainer.own_reward"
"""What stands before the user's function in a run."""
MAX_SOURCES, MAX_SECONDS = 4, 60.0
"""Rows of a file that are tried, each of another data_source; and the time of a call, where a run's is longer."""


def trial_faults(config: DictConfig) -> Iterator[str]:
    """A function that cannot be loaded, raises, hangs, or gives what is no reward."""
    if is_tried(config) and (why := _tried(config).fault):
        yield f"reward.custom_reward_function: {_function(config)} {why}"


def remarks_on_reward(config: DictConfig) -> Iterator[str]:
    """What should be known of a function in which no fault was found."""
    if is_tried(config) and (differs := _tried(config).differs):
        yield (
            f"{_function(config)} returns {', '.join(differs)} for some completions and not for others: what is "
            "missing counts as None"
        )


def with_checked_results(config: DictConfig) -> None:
    """Put `CHECKED` in the place of the user's function, in a config in which no fault was found."""
    if not is_tried(config):
        return
    own, tried = config.reward.custom_reward_function, _tried(config)
    told = {"path": own.path, "name": own.name or "compute_score", "kwargs": _kwargs(config), "names": tried.names}
    with open_dict(config):
        config.reward.custom_reward_function = {
            "path": CHECKED,
            "name": "compute_score_async" if tried.is_async else "compute_score",
            "reward_kwargs": {"own": told},
        }


def is_tried(config: DictConfig) -> bool:
    """Whether there is a function of the user's own that needs nothing of a run: no model that judges."""
    path = config.reward.custom_reward_function.path
    return bool(path) and not path.startswith(OURS) and not config.reward.reward_model.enable


def _function(config: DictConfig) -> str:
    own = config.reward.custom_reward_function
    return f"{own.name or 'compute_score'} of {own.path}"


def _kwargs(config: DictConfig) -> dict[str, Any]:
    given = config.reward.custom_reward_function.get("reward_kwargs")
    return OmegaConf.to_container(given, resolve=True) if given else {}


def _tried(config: DictConfig) -> Tried:
    own, timeout = config.reward.custom_reward_function, config.cppo.reward_timeout
    file = Path(own.path.removeprefix(FILE))
    files = [str(path) for split in SPLITS for path in paths(config.data[f"{split}_files"])]
    in_thread = config.reward.reward_manager.name != "remote"
    changed = file.stat().st_mtime_ns if file.is_file() else 0
    return _tried_once(
        own.path, own.name or "compute_score", json.dumps(_kwargs(config)), tuple(files), timeout, in_thread, changed
    )


@cache
def _tried_once(
    path: str, name: str, kwargs: str, files: tuple[str, ...], timeout: float, in_thread: bool, changed: int
) -> Tried:
    """What came of a function on rows of these files; `changed` is when it was written last."""
    rows = [row for file in files for row in _rows_to_try(Path(file))]
    return try_out(Trial(path, name, json.loads(kwargs), rows, min(timeout, MAX_SECONDS), in_thread))


def _rows_to_try(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The first row of each data_source of a file with completions of several kinds, as verl gives them."""
    sources = pq.read_table(file, columns=["data_source"])["data_source"].to_pylist()
    first: dict[str, int] = {}
    for number, source in enumerate(sources):
        first.setdefault(source, number)
    columns = [name for name in ("reward_model", "extra_info") if name in pq.read_schema(file).names]
    table = pq.read_table(file, columns=columns)
    for source, number in list(first.items())[:MAX_SOURCES]:
        (row,) = table.slice(number, 1).to_pylist()
        gold = row["reward_model"]["ground_truth"]
        for completion in completions(gold):
            extra = {**(row.get("extra_info") or {}), "num_turns": 2, "rollout_reward_scores": {}}
            given = {"data_source": source, "solution_str": completion, "ground_truth": gold, "extra_info": extra}
            yield f"row {number + 1} of {file} with the completion {completion!r:.120}", given


def completions(gold: str) -> list[str]:
    """Right ones in the layouts that are usual, a wrong one, and none."""
    right = [f"<think>So it is.</think>\n<answer>{gold}</answer>", f"It is \\boxed{{{gold}}}.\n#### {gold}"]
    return [*right, "I do not know.", ""]

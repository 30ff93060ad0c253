"""The training steps of a run of verl, from whichever of its logs there is.

A run's folder of this package; the lines of verl's file logger (`{"step": 1, "data": {...}}`); or what its console
logger printed (`step:1 - timing_s/gen:2.0 - ...`), with or without Ray's prefixes, colours and other output between.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.report.log import Log, log_of, read_lines
from cppo_verl.runs.folder import CONFIG_FILE, METRICS_FILE

NEEDED = ("timing_s/step", "timing_s/gen", "timing_s/update_actor")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
PREFIX = re.compile(r"^\(\S+ pid=\d+[^)]*\) ?")
"""Ray's, of a line that a process printed."""
STEP = re.compile(r"(?:^|[\s\r|])step:(\d+) - ")
"""Also behind a progress bar."""
METRIC = re.compile(r"^(\S+):(?:np\.\w+\()?([-+]?(?:[\d.]+(?:e[-+]?\d+)?|inf|nan))\)?(?:\s|$)")
CONFIG_START = "{'actor_rollout_ref'"
"""verl prints the config it resolved before it starts."""


@dataclass(frozen=True)
class TrainingLog:
    """What a log says."""

    steps: pd.DataFrame
    """The training steps that can be measured, a row each: without the first of each start, which has the start of the
    engine in it."""

    left_out: int
    """Steps that were left out for that."""

    config: Mapping[str, Any]
    """The run's, where it was found; else empty."""

    def setting(self, key: str) -> Any:
        """An option by its dotted name; None where it is not known."""
        node: Any = self.config
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        return node


def read_training(path: Path) -> TrainingLog:
    """Read a run folder, a file of verl's file logger, or verl's console output.

    Raises:
        ConfigError: There is no such file, or it holds no training step that can be measured; the message says what is
            missing.
    """
    file = path / METRICS_FILE if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(
            f"{file}: there is no such file; give a run's folder, or the file of verl's file logger or console"
        )
    log, config = read_lines(file), {}
    if file.name == METRICS_FILE:
        config = _saved_config(file.with_name(CONFIG_FILE))
    if log.metrics.empty:
        lines = [COLOURS.sub("", line) for line in file.read_text(errors="replace").splitlines()]
        log, config = log_of(console_entries(lines)), printed_config(lines)
    return _measured(log, config, path)


def _measured(log: Log, config: Mapping[str, Any], path: Path) -> TrainingLog:
    if log.metrics.empty:
        raise ConfigError(
            f'{path}: no step in it, neither {{"step": 1, "data": ...}} (verl\'s file logger) nor step:1 - ... '
            "(verl's console logger)"
        )
    if missing := [name for name in NEEDED if name not in log.metrics]:
        raise ConfigError(f"{path}: its steps have no {', '.join(missing)}; is it the log of a training of verl?")
    steps = log.metrics[log.metrics[NEEDED[0]].notna()]
    starts = {steps.index[0], *(after + 1 for after in log.resumed_after)}
    measured = steps[~steps.index.isin(list(starts))]
    if measured.empty:
        raise ConfigError(
            f"{path}: {len(steps)} training step(s), each the first of a start and with the start of the engine in it; "
            "at least one more is needed"
        )
    return TrainingLog(_without_checkpoints(measured), len(steps) - len(measured), config)


def _without_checkpoints(steps: pd.DataFrame) -> pd.DataFrame:
    """verl's own trainers time a step with the checkpoint that it saved, this package's without."""
    if "timing_s/save_checkpoint" not in steps or "cppo/questions" in steps:
        return steps
    return steps.assign(**{NEEDED[0]: steps[NEEDED[0]] - steps["timing_s/save_checkpoint"].fillna(0)})


def console_entries(lines: Sequence[str]) -> Iterator[tuple[int, dict[str, float]]]:
    """Step and metrics of each line of verl's console logger among others; without colours."""
    for line in lines:
        if found := STEP.search(line):
            metrics = (METRIC.match(part) for part in line[found.end() :].split(" - "))
            yield int(found[1]), {metric[1]: float(metric[2]) for metric in metrics if metric}


def printed_config(lines: Sequence[str]) -> Mapping[str, Any]:
    """The config that verl printed; empty where there is none, or other output stands within."""
    for number, line in enumerate(lines):
        prefix = found[0] if (found := PREFIX.match(line)) else ""
        if not line.startswith(CONFIG_START, len(prefix)):
            continue
        text = [line[len(prefix) :]]
        for following in lines[number + 1 :]:
            if following.startswith(prefix + " "):  # the printer indents all but the first line
                text.append(following[len(prefix) :])
            elif not prefix or following.startswith(prefix):
                break
        try:
            return ast.literal_eval("\n".join(text))
        except (ValueError, SyntaxError):
            return {}
    return {}


def _saved_config(file: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(file.read_text()) if file.is_file() else None
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, Mapping) else {}

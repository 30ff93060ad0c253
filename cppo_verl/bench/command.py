"""How fast a step of CPPO is beside one of GRPO, with random weights, forced lengths and rewards by chance.

`python -m cppo_verl.bench.core` times the selection and the allocator alone.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console

from cppo_verl.bench.study import RATES, default_geometry, plan_bench
from cppo_verl.bench.table import measure
from cppo_verl.console import open_console
from cppo_verl.hardware.shapes import find_geometry
from cppo_verl.report import plots, show
from cppo_verl.report.split import PHASES
from cppo_verl.runs.folder import save_config
from cppo_verl.studies.command import is_complete, train_group
from cppo_verl.studies.study import Run, share_starts

RUNNER = "cppo_verl.bench.runner"
PACKAGES = "cppo_verl", "verl", "torch", "vllm", "ray", "transformers"


def bench(
    geometry: str | None,
    rates: Sequence[str] | None,
    rounds: int,
    steps: int,
    out: Path | None,
    overrides: Sequence[str],
    short: bool = False,
) -> int:
    """Run what is missing, and show the table; returns the exit code.

    Args:
        geometry: Name of a shape; by default one that suits this machine.
        rates: Each P as it is written; by default the published ones.
        rounds: Runs an arm, the arms in turn.
        steps: Steps a run; the first is not measured.
        out: Folder for all of it; by default one of the geometry's name.
        overrides: Options of every run.
        short: Only GRPO, and each P with allocation.

    Raises:
        ConfigError: Before the first run starts.
    """
    console, shape = open_console(), find_geometry(geometry or default_geometry())
    out = (out or Path("outputs/bench") / shape.name).absolute()
    runs = plan_bench(shape, RATES if rates is None else rates, rounds, steps, overrides, out, short)
    if not make_runs(runs, out, console):
        return 1
    table, distributions = measure(runs), packages_distributions()
    record = {
        "geometry": shape.name,
        "steps": steps,
        "rounds": rounds,
        "overrides": list(overrides),
        "date": date.today().isoformat(),
        "machine": _machine(),
        "versions": {name: version(distributions.get(name, [name])[0]) for name in PACKAGES},
        "arms": json.loads(table.to_json(orient="records")),
    }
    (out / "bench.json").write_text(json.dumps(record, indent=2) + "\n")
    split = table[["arm", *PHASES, "other"]].rename(columns={"arm": "label"})
    plots.plot_time_split(split, out / "time_split.png", "time of a question: generation + training (s)")
    for part, title in zip(shown(table), ("", "seconds per question", "tokens per second, fill, memory"), strict=True):
        console.print(show.terminal(part, title or f"{shape.name}: {shape.about}"))
    console.print(f"{out / 'bench.json'}", soft_wrap=True, highlight=False)
    return 0


def _machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} cores, {platform.machine()}"


def make_runs(runs: list[Run], out: Path, console: Console) -> bool:
    """Train those that are not complete; whether all are then. Each start's log is written to `out`."""
    missing = [run for run in runs if not is_complete(run)]
    console.print(f"{len(missing)} of {len(runs)} runs to make, in {out}")
    for run in missing:
        save_config(run.config)
    return all(train_group(group, out, console, RUNNER) for group in share_starts(missing))


def shown(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The table for people, in three parts: ratios, phases, speeds."""
    ratios = pd.DataFrame(
        {
            "arm": table["arm"],
            "s a question": table["seconds"].map("{:.3f}".format),
            "ratio [lowest, highest]": [
                f"{row.ratio:.2f}x [{row.low:.2f}, {row.high:.2f}]"
                for row in table.rename(columns={"ratio low": "low", "ratio high": "high"}).itertuples()
            ],
            "bound": table["bound"].map("{:.2f}x".format),
            "reached": table["reached"].map("{:.0%}".format),
        }
    )
    phases = table[["arm", *PHASES, "other"]].set_index("arm").map("{:.3f}".format).reset_index()
    rest = table.drop(columns=[*PHASES, "other", "seconds", "ratio", "ratio low", "ratio high", "bound", "reached"])
    styles = {"tokens/s": "{:,.0f}", "fill": "{:.0%}", "imbalance": "{:.1%}", "memory": "{:.1f} GiB"}
    for name in rest.columns[1:]:
        style = styles[name.split()[0]]
        rest[name] = ["-" if pd.isna(value) else style.format(value) for value in rest[name]]
    return ratios, phases, rest

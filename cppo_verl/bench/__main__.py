"""How fast a step of CPPO is beside one of GRPO, with random weights, forced lengths and rewards by chance.

python -m cppo_verl.bench [--geometry small] [--rates 0.5 0.75] [--rounds 3] [--steps 4] [key=value ...]

Writes bench.json and time_split.png into --out. Started again, it skips the runs that are complete.
`python -m cppo_verl.bench.core` times the selection and the allocator alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import date
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console

from cppo_verl.ablate import is_complete, train_group
from cppo_verl.bench.study import RATES, default_geometry, find_geometry, plan_bench
from cppo_verl.bench.table import measure
from cppo_verl.config import ConfigError
from cppo_verl.console import open_console
from cppo_verl.preflight import save_config
from cppo_verl.report import plots, show
from cppo_verl.report.runs import PHASES
from cppo_verl.studies import REPO, Run, share_starts

RUNNER = "cppo_verl.bench.runner"
PACKAGES = "cppo_verl", "verl", "torch", "vllm", "ray", "transformers"


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code."""
    args, console = _parse_args(argv), open_console()
    try:
        return bench(args, console)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def bench(args: argparse.Namespace, console: Console) -> int:
    """Run what is missing, and show the table.

    Raises:
        ConfigError: Before the first run starts.
    """
    geometry = find_geometry(args.geometry or default_geometry())
    out = (args.out or REPO / "outputs/bench" / geometry.name).absolute()
    runs = plan_bench(geometry, args.rates, args.rounds, args.steps, args.overrides, out)
    if not make_runs(runs, out, console):
        return 1
    table, distributions = measure(runs), packages_distributions()
    record = {
        "geometry": geometry.name,
        "steps": args.steps,
        "rounds": args.rounds,
        "overrides": args.overrides,
        "date": date.today().isoformat(),
        "machine": _machine(),
        "versions": {name: version(distributions[name][0]) for name in PACKAGES},
        "arms": json.loads(table.to_json(orient="records")),
    }
    (out / "bench.json").write_text(json.dumps(record, indent=2) + "\n")
    split = table[["arm", *PHASES, "other"]].rename(columns={"arm": "label"})
    plots.plot_time_split(split, out / "time_split.png", "time of a question: generation + training (s)")
    for part, title in zip(shown(table), ("", "seconds a question", "tokens a second, fill, memory"), strict=True):
        console.print(show.terminal(part, title or f"{geometry.name}: {geometry.about}"))
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


def _parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--geometry", help="small, qwen2.5-0.5b, -1.5b or -7b (default: by whether there is a GPU)")
    parser.add_argument("--rates", nargs="*", default=list(RATES), metavar="P", help="pruning rates")
    parser.add_argument("--rounds", type=int, default=3, help="runs an arm, the arms in turn")
    parser.add_argument("--steps", type=int, default=4, help="steps a run; the first is not measured")
    parser.add_argument("--out", type=Path, help="folder for all of it (default: outputs/bench/GEOMETRY)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="options of every run")
    return parser.parse_intermixed_args(argv)


if __name__ == "__main__":
    sys.exit(main())

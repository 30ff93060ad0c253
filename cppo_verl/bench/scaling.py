"""How the seconds of a step grow with G, P, the questions and the ranks: a model of it, beside measured steps.

python -m cppo_verl.bench.scaling [--geometry small] [--steps 3] [--out DIR] [key=value ...]

The model is fitted to the arms of the first point and predicts those of the others; docs/scaling.md says what it is.
Writes scaling.json into --out. Started again, it skips the runs that are complete.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.console import Console

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.bench.command import make_runs
from cppo_verl.bench.study import VERLS_OWN, default_geometry, plan_bench
from cppo_verl.bench.table import measure
from cppo_verl.console import open_console
from cppo_verl.hardware.shapes import find_geometry
from cppo_verl.preflight.plan import plan_from_config
from cppo_verl.report import show
from cppo_verl.report.split import PHASES, SHRINKING
from cppo_verl.studies.study import Run

POINTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "G = 16, 4 questions": ((), ("0.5", "0.75")),
    "P = 0.9375": ((), ("0.9375",)),
    "G = 8": (("actor_rollout_ref.rollout.n=8",), ("0.75",)),
    "G = 32": (("actor_rollout_ref.rollout.n=32",), ("0.75",)),
    "8 questions": (("data.train_batch_size=8", "actor_rollout_ref.actor.ppo_mini_batch_size=8"), ("0.75",)),
    "2 ranks": (("trainer.n_gpus_per_node=2",), ("0.75",)),
    "4 ranks": (("trainer.n_gpus_per_node=4",), ("0.75",)),
}
"""Name of a point to its options and its pruning rates; the model is fitted to the first."""


@dataclass(frozen=True)
class StepCost:
    """Seconds of a step of N sampled and M kept completions: a + c + (b N + d M) / S.

    Args:
        sampled: a and b, of generation and of all that is done for each sampled completion.
        kept: c and d, of the old and reference forwards and the update.
    """

    sampled: tuple[float, float]
    kept: tuple[float, float]

    @classmethod
    def fit(cls, steps: pd.DataFrame) -> StepCost:
        """Least squares over steps of at least two sizes of each kind.

        Args:
            steps: Columns `sampled` and `kept`, completions; `generation` and `training`, seconds.
        """
        lines = (np.polyfit(steps[of], steps[seconds], 1) for of, seconds in KINDS.items())
        return cls(*((float(start), float(slope)) for slope, start in lines))

    def seconds(self, sampled: float, kept: float, speedup: float = 1.0) -> float:
        """Of a step.

        Args:
            sampled: N, completions.
            kept: M, completions.
            speedup: S, by which more ranks are faster: their number with a device each, 1 where they share it.
        """
        (a, b), (c, d) = self.sampled, self.kept
        return a + c + (b * sampled + d * kept) / speedup


KINDS = {"sampled": "generation", "kept": "training"}
"""What a step has completions of, and the seconds that they cost."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--geometry", default=default_geometry(), help="small, qwen2.5-0.5b, -1.5b or -7b")
    parser.add_argument("--steps", type=int, default=3, help="steps a run; the first is not measured")
    parser.add_argument("--out", type=Path, help="folder for all of it (default: outputs/scaling/GEOMETRY)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="options of every run")
    args, console = parser.parse_intermixed_args(argv), open_console()
    out = (args.out or Path("outputs/scaling") / args.geometry).absolute()
    try:
        measured = list(measure_points(args, out, console))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not measured:  # the first point failed, and has said why
        return 1
    steps = modelled(pd.concat(measured, ignore_index=True))
    (out / "scaling.json").write_text(steps.to_json(orient="records", indent=2) + "\n")
    console.print(show.terminal(shown(steps), f"{args.geometry}: seconds a step"))
    return 0 if len(measured) == len(POINTS) else 1


def measure_points(args: argparse.Namespace, out: Path, console: Console) -> Iterator[pd.DataFrame]:
    """The steps of each point, until one fails.

    Raises:
        ConfigError: The geometry or an option cannot be.
    """
    geometry = find_geometry(args.geometry)
    for name, (options, rates) in POINTS.items():
        folder = out / name.replace(" = ", "_").replace(", ", "_").replace(" ", "_")
        runs = plan_bench(geometry, rates, 1, args.steps, [*options, *args.overrides], folder)
        runs = [run for run in runs if run.arm != VERLS_OWN]
        console.print(f"[bold]{name}[/bold]")
        if not make_runs(runs, folder, console):
            return
        yield steps_of(name, runs)


def steps_of(point: str, runs: Sequence[Run]) -> pd.DataFrame:
    """A row an arm: completions `sampled` and `kept` a step, seconds of `generation` (with all else) and `training`.

    And what `measure` finds of the ranks: `imbalance`, `fill update`, `memory`.
    """
    rows = []
    for run, phases in zip(runs, measure(runs).to_dict("records"), strict=True):
        plan = plan_from_config(run.config)
        training, step = (plan.questions * sum(phases[name] for name in of) for of in (SHRINKING, (*PHASES, "other")))
        rows.append(
            {"point": point, "arm": run.arm, "ranks": plan.dp_size, "questions": plan.questions}
            | {"sampled": plan.sampled, "kept": plan.rows, "generation": step - training, "training": training}
            | {name: phases.get(name) for name in ("imbalance", "fill update", "memory")}
        )
    return pd.DataFrame(rows)


def modelled(steps: pd.DataFrame) -> pd.DataFrame:
    """The same with the step's seconds, `measured` and by the model, and its `error`, (modelled - measured) / measured.

    The model is fitted to the first point. Ranks have a GPU each, or share this machine's processors.
    """
    cost = StepCost.fit(steps[steps["point"] == steps["point"].iloc[0]])
    measured = steps["generation"] + steps["training"]
    devices = steps["ranks"] / steps["ranks"].iloc[0] if torch.cuda.is_available() else np.ones(len(steps))
    rows = zip(steps["sampled"], steps["kept"], devices, strict=True)
    model = [cost.seconds(*row) for row in rows]
    return steps.assign(measured=measured, model=model, error=model / measured - 1)


def shown(steps: pd.DataFrame) -> pd.DataFrame:
    """The table for people."""
    styles = {name: "{:.1f}".format for name in ("generation", "training", "measured", "model")}
    styles |= {"imbalance": "{:.1%}".format, "error": "{:+.0%}".format}
    return steps.drop(columns=["ranks", "fill update", "memory"]).assign(
        **{name: steps[name].map(style) for name, style in styles.items()}
    )


if __name__ == "__main__":
    sys.exit(main())

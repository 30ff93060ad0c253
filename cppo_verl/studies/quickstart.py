"""GRPO and CPPO side by side on the embedded default: `bash scripts/quickstart.sh`.

Builds a small model with room to learn, trains it both ways on as many questions with the recipes' trainer,
and reports what came of it. `--seed` decides the order of the questions, what is sampled, and ties. All seeds start
from the same warm-started model, as every seed of a study on a published model does: how far runs differ is then
what reinforcement learning does, and a second seed needs no second warm start.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from rich.console import Console

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.console import open_console
from cppo_verl.data.prepare import main as prepare
from cppo_verl.data.rows import Recipe
from cppo_verl.rewards.gsm8k import parse_gold
from cppo_verl.studies.command import ON_TOY, run_study
from cppo_verl.studies.study import Study
from cppo_verl.toy.build import ToySettings, build

TOY = Recipe(
    data_sources=dict.fromkeys(("train", "test"), "cppo/word_problems"),
    question="question",
    answer="answer",
    parse_gold=parse_gold,
    system="",
)


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code."""
    args = _parse_args(argv)
    console, out = open_console(), args.out.absolute()
    toy = make_task(out, console)
    cppo = [f"cppo.pruning_rate={args.pruning_rate:g}", *args.cppo_overrides]
    study = Study(
        name="quickstart",
        about=f"GRPO and CPPO on the same {args.questions} questions, from the same warm start",
        arms={
            "GRPO": ["cppo.pruning_rate=0", "cppo.allocation=false"],
            f"CPPO P={args.pruning_rate:g}": cppo,
        },
    )
    overrides = [
        *ON_TOY,
        *(f"device={args.device}", f"data.train_max_samples={args.questions}"),
        *(f"data.train_files={toy}/train.parquet", f"data.val_files={toy}/test.parquet"),
        f"actor_rollout_ref.model.path={toy}/model",
    ]
    try:
        return run_study(study, range(args.seed, args.seed + args.seeds), overrides, out, console)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def make_task(out: Path, console: Console) -> Path:
    """Build what is not there of the embedded task, its model and its questions; returns its folder, in `out`."""
    toy = out / "toy"
    build(toy, ToySettings(), console)
    prepare(TOY, "", ["--local_dir", str(toy), "--source", str(toy / "raw"), "--no-system-prompt"])
    return toy


def _parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/quickstart"), help="folder for all of it")
    parser.add_argument("--questions", type=int, default=320, help="questions each method trains on")
    parser.add_argument("--pruning-rate", type=float, default=0.75, help="P of the CPPO run")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the questions, the sampling and ties")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each method, with seeds from --seed on")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("cppo_overrides", nargs="*", metavar="key=value", help="options of the CPPO run")
    args = parser.parse_args(argv)
    if args.seeds < 1:
        parser.error(f"--seeds={args.seeds} trains nothing; the nearest that works is 1")
    return args


if __name__ == "__main__":
    sys.exit(main())

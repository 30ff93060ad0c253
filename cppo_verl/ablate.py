"""All runs of a study one after another, then the report.

python -m cppo_verl.ablate STUDY [--seeds 3] [--questions N] [key=value ...]

Without further options it trains the embedded default (`bash scripts/quickstart.sh` builds it), on the CPU where
there is no GPU. At full size:  python -m cppo_verl.ablate pruning_rate recipe=gsm8k device=gpu
Started again, it skips the runs that are complete.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cppo_verl.config import ConfigError
from cppo_verl.console import open_console
from cppo_verl.preflight import CONFIG_FILE, planned_steps, save_config
from cppo_verl.report.make import make_report
from cppo_verl.studies import DONE, REPO, Run, Study, find_study, inputs, plan_runs, share_starts
from cppo_verl.train import prepare
from cppo_verl.trainer.metrics_log import METRICS_FILE

LAST_STEP_ONLY = "trainer.test_freq=1000000"
"""verl validates at the last step too."""
TOY = ("recipe=toy", LAST_STEP_ONLY)
"""The embedded default."""
TOY_QUESTIONS = 128


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code."""
    args = _parse_args(argv)
    console = open_console()
    try:
        study = find_study(args.study)
        out = (args.out or REPO / "outputs/studies" / study.name).absolute()
        return run_study(study, range(1, args.seeds + 1), _overrides(args), out, console)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run_study(study: Study, seeds: Sequence[int], overrides: Sequence[str], out: Path, console: Console) -> int:
    """Train what of a study is not complete, and report.

    Args:
        study: The arms.
        seeds: One run of every arm each.
        overrides: Of every run, in Hydra's form.
        out: Folder for the runs, and the report in `report`.
        console: Where to show it.

    Returns:
        The exit code.

    Raises:
        ConfigError: As `is_complete`, of any run, before the first one starts.
    """
    runs = plan_runs(study, seeds, overrides, out)
    missing = [run for run in runs if not is_complete(run)]
    console.print(f"{study.name}: {study.about}", markup=False, highlight=False, soft_wrap=True)
    if complete := len(runs) - len(missing):
        console.print(f"{complete} of {len(runs)} runs are complete in {out}", highlight=False, soft_wrap=True)
    for run in missing:
        save_config(run.config)
    for group in share_starts(missing):
        if not train_group(group, out, console):
            return 1
    by_arm = [run.folder for arm in study.arms for run in runs if run.arm == arm]
    for remark in make_report(by_arm, out / "report", console):
        console.print(f"note: {remark}", markup=False, highlight=False, soft_wrap=True)
    return 0


def is_complete(run: Run) -> bool:
    """Check a run's config, and whether it was trained to its end before.

    Raises:
        ConfigError: The config cannot work, or the run's folder is of another, or of other data.
    """
    prepare(run.config)
    saved = run.folder / CONFIG_FILE
    if saved.is_file() and OmegaConf.load(saved) != run.config:
        raise ConfigError(f"{run.folder} holds a run with other settings; give another --out, or delete that folder")
    done = run.folder / DONE
    if done.is_file() and done.read_text() != inputs(run.config):
        raise ConfigError(f"{run.folder} holds a run on other data or model files; delete it to run it again")
    return done.is_file()


def train_group(runs: list[Run], out: Path, console: Console, module: str = "cppo_verl.trainer.sequence") -> bool:
    """Train runs that share a start, by a module in a process of its own; whether all came to their end."""
    command = [sys.executable, "-m", module, *(str(run.folder) for run in runs)]
    log = out / f"{runs[0].name}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, cwd=REPO)
        try:
            _show_progress(process, runs, console)
        finally:
            process.terminate()
            process.wait()
    if process.returncode == 0:
        return True
    console.print(f"[red]error:[/red] ended with exit code {process.returncode}; the end of {log}:", soft_wrap=True)
    console.print("\n".join(log.read_text(errors="replace").splitlines()[-15:]), markup=False)
    return False


def _show_progress(process: subprocess.Popen, runs: list[Run], console: Console) -> None:
    steps = {run.name: planned_steps(run.config) for run in runs}
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("starting Ray, FSDP2 and vLLM", total=sum(steps.values()))
        while process.poll() is None:
            done = {run.name: _steps_done(run) for run in runs}
            if begun := [name for name, count in done.items() if count is not None]:
                progress.update(task, completed=sum(filter(None, done.values())), description=begun[-1])
            time.sleep(1)


def _steps_done(run: Run) -> int | None:
    """Steps in the metrics of a run; None before it began."""
    metrics = run.folder / METRICS_FILE
    return metrics.read_bytes().count(b'"training/global_step"') if metrics.is_file() else None


def _overrides(args: argparse.Namespace) -> list[str]:
    given = dict(override.split("=", 1) for override in args.overrides if "=" in override)
    toy = given.get("recipe", "toy") == "toy"
    device = [] if "device" in given else ["device=gpu" if torch.cuda.is_available() else "device=cpu"]
    questions = args.questions or (TOY_QUESTIONS if toy else None)
    limit = [f"data.train_max_samples={questions}"] if questions else []
    return [*(TOY if toy else ()), *device, *limit, *(o for o in args.overrides if o != "recipe=toy")]


def _parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="name of a study in recipe/cppo/studies, or a YAML file")
    parser.add_argument("--seeds", type=int, default=3, help="runs an arm, with seeds from 1")
    parser.add_argument("--questions", type=int, help=f"train on so many (embedded default: {TOY_QUESTIONS})")
    parser.add_argument("--out", type=Path, help="folder for all of it (default: outputs/studies/STUDY)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="options of every run")
    return parser.parse_intermixed_args(argv)


if __name__ == "__main__":
    sys.exit(main())

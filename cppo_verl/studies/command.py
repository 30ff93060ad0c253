"""All runs of a study one after another, then the report.

Started again, a study skips the runs that are complete.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.console import open_console
from cppo_verl.preflight.data import planned_steps
from cppo_verl.preflight.prepare import prepare
from cppo_verl.report.make import make_report
from cppo_verl.runs.endings import sigterm_exits
from cppo_verl.runs.folder import CONFIG_FILE, DONE, METRICS_FILE, save_config
from cppo_verl.studies.study import Run, Study, find_study, find_twin, inputs, plan_runs, share_starts

ON_TOY = (
    *("recipe=toy", "cppo.mini_batch=questions"),
    *("trainer.test_freq=1000000", "cppo.val_every_questions=64", "cppo.val_subset=null"),
)
"""The embedded default, with GRPO's updates, of which some hundred questions make few. It is validated before training,
every 64 questions and (by verl) at the last step, on all of its few test questions."""
TOY_QUESTIONS = 128


def start(
    name: str,
    seeds: int,
    questions: int | None,
    out: Path | None,
    overrides: Sequence[str],
    target: float | None = None,
    own_runs: bool = False,
) -> int:
    """Run a study by its name, or by its file; returns the exit code.

    Args:
        name: In `recipe/*/studies`, or a YAML file.
        seeds: Runs an arm, with seeds from 1.
        questions: Train on so many; None for the data's own number, or `TOY_QUESTIONS`.
        out: Folder for all of it; by default one of the study's name.
        overrides: Options of every run, in Hydra's form.
        target: As `make_report`'s.
        own_runs: As `run_study`'s.

    Raises:
        ConfigError: There is no such study, or one of its runs cannot work.
    """
    study = find_study(name)
    folder = (out or Path("outputs/studies") / study.name).absolute()
    given = common(overrides, questions)
    return run_study(study, range(1, seeds + 1), given, folder, open_console(), target, own_runs)


def run_study(
    study: Study,
    seeds: Sequence[int],
    overrides: Sequence[str],
    out: Path,
    console: Console,
    target: float | None = None,
    own_runs: bool = False,
) -> int:
    """Train what of a study is not complete, and report.

    Args:
        study: The arms.
        seeds: One run of every arm each.
        overrides: Of every run, in Hydra's form.
        out: Folder for the runs, and the report in `report`.
        console: Where to show it; last, what the comparison comes to.
        target: As `make_report`'s.
        own_runs: Whether to train also what a study beside it has, which may have been trained on a busier machine.

    Returns:
        The exit code.

    Raises:
        ConfigError: As `is_complete`, of any run, before the first one starts.
    """
    runs = plan_runs(study, seeds, overrides, out)
    made = {run.name: found for run in runs if (found := find_made(run, out, own_runs))}
    missing = [run for run in runs if run.name not in made]
    console.print(f"{study.name}: {study.about}", markup=False, highlight=False, soft_wrap=True)
    if complete := len(runs) - len(missing):
        done = f"{complete} of {len(runs)} runs are complete in {_places(made)}"
        console.print(done, highlight=False, soft_wrap=True)
    for run in missing:
        save_config(run.config)
    for group in share_starts(missing):
        if not train_group(group, out, console):
            return 1
    by_arm = [made.get(run.name, run.folder) for arm in study.arms for run in runs if run.arm == arm]
    report = make_report(by_arm, out / "report", console, target)
    for line in [*(f"note: {remark}" for remark in report.notes), *report.headlines]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def find_made(run: Run, out: Path, own_runs: bool = False) -> Path | None:
    """The folder of a run that was trained to its end before: its own, or, but with `own_runs`, that of the same run in
    a study beside `out`.

    Raises:
        ConfigError: As `is_complete`.
    """
    if is_complete(run):
        return run.folder
    return None if own_runs else find_twin(run, out)


def is_complete(run: Run) -> bool:
    """Check a run's config, and whether it was trained to its end in its own folder before.

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


def _places(made: dict[str, Path]) -> str:
    return ", ".join(sorted({str(folder.parent) for folder in made.values()}))


def train_group(runs: list[Run], out: Path, console: Console, module: str = "cppo_verl.studies.sequence") -> bool:
    """Train runs that share a start, by a module in a process of its own; whether all came to their end."""
    command = [sys.executable, "-m", module, *(str(run.folder) for run in runs)]
    log = out / f"{runs[0].name}.log"
    with log.open("wb") as sink, sigterm_exits():
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT)
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


def common(overrides: Sequence[str], questions: int | None) -> list[str]:
    """The overrides of every run: the given ones, the embedded task unless they name another, and a device."""
    given = dict(override.split("=", 1) for override in overrides if "=" in override)
    toy = given.get("recipe", "toy") == "toy"
    device = [] if "device" in given else [f"device={'gpu' if torch.cuda.is_available() else 'cpu'}"]
    questions = questions or (TOY_QUESTIONS if toy else None)
    limit = [f"data.train_max_samples={questions}"] if questions else []
    return [*(ON_TOY if toy else ()), *device, *limit, *(o for o in overrides if o != "recipe=toy")]

"""GRPO and CPPO side by side on the embedded default: `bash scripts/quickstart.sh`.

Builds a small model with room to learn, trains it both ways on as many questions with the recipes' trainer,
and reports what came of it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cppo_verl.data.prepare import main as prepare
from cppo_verl.data.rows import Recipe
from cppo_verl.planning import plan_step
from cppo_verl.report.log import read_metrics
from cppo_verl.report.make import make_report
from cppo_verl.rewards.gsm8k import parse_gold
from cppo_verl.toy.build import STAMP, ToySettings, build
from cppo_verl.trainer.metrics_log import METRICS_FILE

REPO = Path(__file__).resolve().parents[1]
QUESTIONS_A_BATCH, ROLLOUT_N = 4, 16
"""As in the recipe `toy`."""

TOY = Recipe(
    data_sources=dict.fromkeys(("train", "test"), "cppo/word_problems"),
    question="question",
    answer="answer",
    parse_gold=parse_gold,
    system="",
)


@dataclass(frozen=True)
class Method:
    """One side of the comparison."""

    name: str
    pruning_rate: float
    overrides: tuple[str, ...] = ()

    def steps(self, questions: int) -> int:
        """Steps that consume `questions`."""
        allocation = self.pruning_rate > 0
        plan = plan_step(self.pruning_rate, ROLLOUT_N, QUESTIONS_A_BATCH, QUESTIONS_A_BATCH, allocation=allocation)
        return questions // plan.questions


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code."""
    args = _parse_args(argv)
    # Off a terminal rich takes 80 columns, which would cut the table's heads.
    console, out = Console(width=None if sys.stdout.isatty() else 140), args.out.absolute()
    toy = out / "toy"
    build(toy, ToySettings(), console)
    prepare(TOY, "", ["--local_dir", str(toy), "--source", str(toy / "raw"), "--no-system-prompt"])
    methods = [
        Method("grpo", 0, ("cppo.allocation=false",)),
        Method("cppo", args.pruning_rate, tuple(args.cppo_overrides)),
    ]
    for method in methods:
        if not _train(method, method.steps(args.questions), args.device, toy, out / method.name, console):
            return 1
    for remark in make_report([out / method.name for method in methods], out / "report", console):
        console.print(f"note: {remark}", highlight=False)
    return 0


def _parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=REPO / "outputs" / "quickstart", help="folder for all of it")
    parser.add_argument("--questions", type=int, default=160, help="questions each method trains on")
    parser.add_argument("--pruning-rate", type=float, default=0.75, help="P of the CPPO run")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("cppo_overrides", nargs="*", metavar="key=value", help="options of the CPPO run")
    return parser.parse_args(argv)


def _train(method: Method, steps: int, device: str, toy: Path, folder: Path, console: Console) -> bool:
    """Train in a process of its own and show how far it is; a run of the same command is not repeated."""
    command = [
        *(sys.executable, "-m", "cppo_verl.train", "--config-dir", str(REPO / "recipe/cppo/config")),
        *("recipe=toy", f"device={device}", f"trainer.total_training_steps={steps}", f"trainer.test_freq={steps}"),
        *(f"data.train_files={toy}/train.parquet", f"data.val_files={toy}/test.parquet"),
        *(f"actor_rollout_ref.model.path={toy}/model", f"trainer.default_local_dir={folder}"),
        *(f"cppo.pruning_rate={method.pruning_rate}", *method.overrides),
    ]
    made_by = json.dumps({"command": command[1:], "toy": json.loads((toy / STAMP).read_text())})
    done, log = folder / "done.json", folder / "train.log"
    if done.exists() and done.read_text() == made_by:
        console.print(f"{method.name}: complete in {folder}; delete that folder to train again")
        return True
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, cwd=REPO)
        try:
            _show_progress(process, method.name, steps, folder, console)
        finally:
            process.terminate()
            process.wait()
    if process.returncode:
        console.print(f"[red]error:[/red] {method.name} ended with exit code {process.returncode}; the end of {log}:")
        console.print("\n".join(log.read_text(errors="replace").splitlines()[-15:]), markup=False)
        return False
    done.write_text(made_by)
    return True


def _show_progress(process: subprocess.Popen, name: str, steps: int, folder: Path, console: Console) -> None:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"{name}: starting Ray, FSDP2 and vLLM", total=steps)
        while process.poll() is None:
            if (done := _steps_done(folder)) >= 0:
                doing = "training" if done < steps else "finishing"
                progress.update(task, completed=done, description=f"{name}: {doing}")
            time.sleep(0.5)


def _steps_done(folder: Path) -> int:
    """The last logged step; -1 before the first line."""
    if not (folder / METRICS_FILE).exists() or not (metrics := read_metrics(folder)).size:
        return -1
    return int(metrics.index.max())


if __name__ == "__main__":
    sys.exit(main())

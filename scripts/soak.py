"""Train the embedded default for a long time and watch what grows: memory, open files, Ray's object store, disk.

.venv/bin/python scripts/soak.py [--steps 1000] [--out outputs/soak] [key=value ...]

Ends with a table (also soak.md), a plot (soak.png) and the samples (soak.csv); exit code 1 if something grows.
Shared memory is the machine's: nothing else should run. Give another --out for another soak.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import matplotlib
import pandas as pd
import psutil
from rich.progress import Progress
from scipy.stats import theilslopes

from cppo_verl.console import open_console
from cppo_verl.data.prepare import main as prepare
from cppo_verl.report import show
from cppo_verl.studies.quickstart import TOY
from cppo_verl.toy.build import ToySettings, build

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROLES = {
    "cppo_verl train": "driver",
    "ray::CPPOTaskRunner": "trainer",
    "ray::WorkerDict": "worker",
    "ray::GroupServer": "vLLM server",
    "VLLM::": "vLLM engine",
    "ray::CPPOAgentLoopWorker": "agent loop",
    "ray::RewardLoopWorker": "reward worker",
    "raylet/raylet": "raylet",
    "gcs/gcs_server": "GCS",
}
"""A part of a process's title, and what the process is called here."""
EVERY_S = 5.0
WARM_UP = 0.2
"""Share of the samples that is left out: caches fill, allocators find their size."""
ALLOWED = 0.02
"""Growth in 1000 steps that is taken for none, as a share of what there is after the warm-up."""
UNITS = {"memory": "MiB", "files": "open files", "shared memory": "MiB", "run folder": "MiB", "Ray's session": "MiB"}


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("outputs/soak"))
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_args()
    out, console = args.out.absolute(), open_console()
    if (out / "run").exists():
        parser.error(f"{out} holds an earlier soak; give another --out")
    toy = out / "toy"
    build(toy, ToySettings(), console)
    prepare(TOY, "", ["--local_dir", str(toy), "--source", str(toy / "raw"), "--no-system-prompt"])
    samples = watch(command(toy, out / "run", args.steps, args.overrides), out, args.steps)
    samples.to_csv(out / "soak.csv", index=False)
    table = growth(samples)
    shown = table.map(lambda cell: f"{cell:.1f}" if isinstance(cell, float) else str(cell))
    (out / "soak.md").write_text(show.markdown(shown) + "\n")
    console.print(show.terminal(shown, f"growth over {samples.step.max()} steps"))
    plot(samples, out / "soak.png")
    return int(table.grows.any())


def command(toy: Path, run: Path, steps: int, overrides: list[str]) -> list[str]:
    """A run with checkpoints, dumps and validations that have to be cleared away."""
    return [
        *(sys.executable, "-m", "cppo_verl", "train"),
        *("recipe=toy", "device=cpu", "cppo.pruning_rate=0.5", "actor_rollout_ref.rollout.n=4"),
        *(f"data.train_files={toy}/train.parquet", f"data.val_files={toy}/test.parquet"),
        *(f"actor_rollout_ref.model.path={toy}/model", f"trainer.default_local_dir={run}"),
        *(f"trainer.total_training_steps={steps}", "trainer.total_epochs=1000", "trainer.val_before_train=false"),
        *("trainer.save_freq=50", "trainer.max_actor_ckpt_to_keep=2", "trainer.test_freq=250"),
        *(f"trainer.rollout_data_dir={run}/dumps", "cppo.dumps_to_keep=20", "trainer.logger=[file]"),
        *overrides,
    ]


def watch(run: list[str], out: Path, steps: int) -> pd.DataFrame:
    """Run it; a row for each sample and thing that is watched: seconds, step, what, role, value.

    Raises:
        SystemExit: The run failed.
    """
    rows, start, folder = [], time.monotonic(), out / "run"
    with (out / "output.log").open("wb") as log, Progress() as progress:
        bar = progress.add_task("steps", total=steps)
        process = subprocess.Popen(run, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            if step := last_step(folder):
                progress.update(bar, completed=step)
                at = {"seconds": time.monotonic() - start, "step": step}
                rows += [at | sample for sample in sample_all(process.pid, folder)]
            time.sleep(EVERY_S)
    if process.returncode:
        sys.exit(f"error: the run failed; see {out / 'output.log'}")
    return pd.DataFrame(rows)


def last_step(folder: Path) -> int:
    """The number of steps that are logged."""
    metrics = folder / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.is_file() else 0


def sample_all(driver: int, folder: Path) -> list[dict]:
    """What the run's processes and folders take now."""
    rows = []
    for process in [psutil.Process(driver), *psutil.Process(driver).children(recursive=True)]:
        try:
            title = " ".join(process.cmdline())
            role = next((role for part, role in ROLES.items() if part in title), None)
            if role:
                rows.append({"what": "memory", "role": role, "value": process.memory_info().rss / 2**20})
                rows.append({"what": "files", "role": role, "value": process.num_fds()})
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    sessions = Path("/tmp/ray").glob(f"session_*_{driver}")
    for what, path in (("run folder", folder), *(("Ray's session", session) for session in sessions)):
        rows.append({"what": what, "role": "", "value": size(path) / 2**20})
    rows.append({"what": "shared memory", "role": "", "value": psutil.disk_usage("/dev/shm").used / 2**20})
    return rows


def size(folder: Path) -> int:
    """Bytes of a folder's files; what is deleted meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


def by_step(part: pd.DataFrame) -> pd.DataFrame:
    """Of one thing of one role: the sum over its processes at a time, and of a step's times the median."""
    at_a_time = part.groupby(["step", "seconds"], as_index=False).value.sum()
    return at_a_time.groupby("step", as_index=False).value.median()


def growth(samples: pd.DataFrame) -> pd.DataFrame:
    """The slope of each after the warm-up (Theil-Sen), with its 95 % interval, per 1000 steps."""
    rows = []
    after = samples[samples.step > samples.step.max() * WARM_UP]
    for (what, role), part in after.groupby(["what", "role"], sort=False):
        part = by_step(part)
        slope, _, low, high = (1000 * number for number in theilslopes(part.value, part.step))
        level = part.value.head(max(len(part) // 10, 1)).median()
        row = {"what": what, "of": role, "unit": UNITS[what], "after warm-up": level, "per 1000 steps": slope}
        rows.append(row | {"from": low, "to": high, "grows": low > ALLOWED * level})
    return pd.DataFrame(rows)


def plot(samples: pd.DataFrame, path: Path) -> None:
    """A panel for each thing that is watched, against the step."""
    kinds = list(dict.fromkeys(samples.what))
    figure, axes = plt.subplots(len(kinds), 1, figsize=(8, 2.6 * len(kinds)), sharex=True, layout="constrained")
    for axis, what in zip(axes, kinds, strict=True):
        part = samples[samples.what == what]
        for role, line in part.groupby("role", sort=False):
            line = by_step(line)
            axis.plot(line.step, line.value, label=role, linewidth=1)
        axis.axvspan(0, samples.step.max() * WARM_UP, color="0.93")
        axis.set(ylabel=UNITS[what], title=what)
        axis.set_ylim(bottom=0)
        if part.role.any():
            axis.legend(fontsize="x-small", ncols=2, loc="center left", bbox_to_anchor=(1, 0.5))
    axes[-1].set_xlabel("step (grey: warm-up, left out of the slopes)")
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())

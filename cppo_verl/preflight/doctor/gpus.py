"""Whether the GPUs can be used: driver, CUDA, memory, NCCL, and what Triton compiles with."""

from __future__ import annotations

from collections.abc import Iterator

from cppo_verl.hardware.drivers import DRIVERS, needed_driver
from cppo_verl.hardware.memory import gib
from cppo_verl.preflight.doctor.facts import Facts, Torch
from cppo_verl.preflight.doctor.finding import Finding
from cppo_verl.preflight.doctor.packages import SETUP

FREE_SHARE = 0.9
"""Of a GPU's memory: with less free, somebody uses it."""
CPU_INSTEAD = "device=cpu runs the same stack without one"


def cuda(facts: Facts) -> Iterator[Finding]:
    """The CUDA that torch was built with."""
    torch = _usable(facts)
    if torch is None:
        return
    if torch.cuda:
        yield Finding("CUDA", "ok", f"{torch.cuda}, which torch was built with")
    elif facts.stack == "gpu":
        yield Finding("CUDA", "error", "torch is a CPU build, which vllm cannot use", f"{SETUP} gpu")
    else:
        yield Finding("CUDA", "not there", "torch is a CPU build")


def driver(facts: Facts) -> Iterator[Finding]:
    """NVIDIA's driver, and whether it is new enough."""
    there, torch = facts.driver, _usable(facts)
    needed = needed_driver(torch.cuda) if torch else None
    if there.fault:
        remedy = "after an update of the driver the machine has to be started anew; in a container, the container"
        yield Finding("driver", _as_needed(facts), f"nvidia-smi fails: {there.fault}", remedy)
    elif there.version is None:
        remedy = f"install driver {needed or max(DRIVERS.values())} or newer, or start the container with its GPUs"
        yield Finding("driver", _as_needed(facts), "no NVIDIA driver", remedy if facts.stack == "gpu" else "")
    elif needed and int(there.version.split(".")[0]) < needed and not torch.gpus:  # cuda-compat makes some work
        found = f"{there.version}, too old for CUDA {torch.cuda}: torch sees no GPU"
        yield Finding("driver", _as_needed(facts), found, f"install driver {needed} or newer")
    else:
        yield Finding("driver", "ok", there.version)


def gpus(facts: Facts) -> Iterator[Finding]:
    """How many torch sees, and whether their memory is free."""
    sees, there = facts.torch.gpus if facts.torch else 0, facts.driver.gpus
    named = _listed([gpu.name for gpu in there])
    if not sees and facts.stack == "gpu":
        hidden = facts.machine.environment.get("CUDA_VISIBLE_DEVICES")
        why = f"CUDA_VISIBLE_DEVICES={hidden!r} hides them" if there and hidden is not None else "see the lines above"
        yield Finding("GPUs", "error", f"torch sees none of {named}" if there else "none", f"{why}; {CPU_INSTEAD}")
    elif not sees:
        found = f"{named}, which the CPU stack does not use" if there else "none"
        yield Finding("GPUs", "not there", found, f"{SETUP} gpu" if there else CPU_INSTEAD)
    else:
        seen = f"torch sees {sees} of {len(there)}: {named}" if there and sees < len(there) else named or str(sees)
        yield Finding("GPUs", "ok", seen)
    yield from _memory(facts)


def nccl(facts: Facts) -> Iterator[Finding]:
    """What the ranks talk through."""
    torch = _usable(facts)
    if torch is None:
        return
    if torch.nccl:
        yield Finding("NCCL", "ok", torch.nccl)
    elif torch.gpus:
        yield Finding("NCCL", "error", "torch was built without it", f"{SETUP} gpu")
    elif torch.gloo:
        yield Finding("NCCL", "not there", "no GPU to use it; on CPUs ranks talk through gloo, which torch has")
    else:
        yield Finding("NCCL", "error", "torch has neither NCCL nor gloo", SETUP)


def compiler(facts: Facts) -> Iterator[Finding]:
    """Triton compiles a launcher for its kernels at the first step."""
    if facts.stack != "gpu":
        return
    if facts.compiler:
        yield Finding("C compiler", "ok", facts.compiler)
    else:
        yield Finding("C compiler", "error", "none, and Triton needs one", "install gcc, or name one in CC")
    if facts.python_header:
        yield Finding("Python.h", "ok", facts.python_header)
    else:
        yield Finding("Python.h", "error", "not there, and Triton needs it", "install python3-dev (python3-devel)")


def _memory(facts: Facts) -> Iterator[Finding]:
    there = [gpu for gpu in facts.driver.gpus if gpu.total]
    if not there:
        return
    least = min(there, key=lambda gpu: gpu.free / gpu.total)
    found = f"{gib(least.free)} GiB of {gib(least.total)} GiB free" + (" on the fullest" if len(there) > 1 else "")
    if least.free < FREE_SHARE * least.total:
        remedy = "nvidia-smi says who uses it; end that, or lower actor_rollout_ref.rollout.gpu_memory_utilization"
        yield Finding("GPU memory", "warning", found, remedy)
    else:
        yield Finding("GPU memory", "ok", found)


def _usable(facts: Facts) -> Torch | None:
    """torch, where it can be imported."""
    return facts.torch if facts.torch and not facts.torch.fault else None


def _as_needed(facts: Facts) -> str:
    return "error" if facts.stack == "gpu" else "not there"


def _listed(names: list[str]) -> str:
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))

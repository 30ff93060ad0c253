"""Which of NVIDIA's drivers a build of torch runs on."""

from __future__ import annotations

from types import ModuleType

DRIVERS = {11: 450, 12: 525, 13: 580}
"""Major version of CUDA to the oldest driver that it runs on (NVIDIA's CUDA compatibility tables)."""


def needed_driver(cuda: str | None) -> int | None:
    """The oldest driver for a version of CUDA; None where there is none, or it is not known."""
    return DRIVERS.get(int(cuda.split(".")[0])) if cuda else None


def why_no_gpu(torch: ModuleType) -> str:
    """What may keep torch from seeing any GPU, as a parenthesis; empty where it sees one."""
    if torch.cuda.device_count():
        return ""
    if not torch.version.cuda:
        return " (it is a CPU build: bash scripts/setup.sh gpu)"
    needed = needed_driver(torch.version.cuda)
    driver = f", which needs NVIDIA's driver {needed} or newer" if needed else ""
    return f" (it was built for CUDA {torch.version.cuda}{driver}; cppo-verl doctor says what is there)"

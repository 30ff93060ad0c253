"""The platform `cpu` for verl, chosen by `VERL_PLATFORM=cpu`."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import torch
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry


def chosen() -> bool:
    """Whether this process runs verl on the CPU platform."""
    return os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu"


class _CPUDevice(ModuleType):
    """`torch.cpu`, with the memory calls that verl expects of a device module."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)

    def get_device_name(self, device: Any = None) -> str:
        """The name by which verl's FLOPs counter knows a CPU."""
        return "CPU"

    def mem_get_info(self, device: Any = None) -> tuple[int, int]:
        """Free and total bytes of the machine's memory."""
        memory = psutil.virtual_memory()
        return memory.available, memory.total

    def memory_allocated(self, device: Any = None) -> int:
        """Resident bytes of this process."""
        return psutil.Process().memory_info().rss

    def max_memory_allocated(self, device: Any = None) -> int:
        """The most bytes of this process that were resident, as Linux counts them; elsewhere those that are."""
        status = Path("/proc/self/status")
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.is_file() else None
        return 1024 * int(peak[1]) if peak else self.memory_allocated()

    def reset_peak_memory_stats(self, device: Any = None) -> None:
        """Let Linux count them anew (proc(5), clear_refs), where it allows that."""
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    memory_reserved, max_memory_reserved = memory_allocated, max_memory_allocated

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    manual_seed_all = manual_seed

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        torch.set_rng_state(state)

    def empty_cache(self) -> None:
        """Nothing is cached."""

    ipc_collect = empty_cache


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    """Ray's resources are logical, so a rank is one unit of `GPU` that Ray is told it has."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = _CPUDevice("torch.cpu")

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        """Never by automatic detection: a verl user who only installed this package keeps verl's default."""
        return chosen()

    def current_device(self) -> str:
        return "cpu"

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        pass

    def synchronize(self, device_index: int | None = None) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        pass

    def empty_cache(self) -> None:
        pass

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        return False

    @contextmanager
    def nvtx_range(self, msg: str):
        yield

    def profiler_start(self) -> None:
        pass

    def profiler_stop(self) -> None:
        pass

    def cudart(self) -> None:
        return None


if chosen():
    from cppo_verl.cpu.vllm_plugin import answer_for_vllm

    answer_for_vllm()

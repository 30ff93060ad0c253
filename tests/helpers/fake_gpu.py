"""GPUs of the kind that the recipes are written for, for code that only plans: nothing can be computed on them."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import torch
import wrapt

NAME = "NVIDIA H100 80GB HBM3"
CAPABILITY = (9, 0)
MEMORY = SimpleNamespace(total=85_520_809_984, free=85_000_000_000, used=520_809_984)


def pretend_gpus(count: int) -> None:
    """Answer for so many GPUs in this process: NVML as vLLM asks it, and the questions of torch that need no context.

    `torch.cuda.is_available()` stays false: whatever would compute there fails, or takes the CPU's way.
    """
    major, minor = CAPABILITY
    properties = SimpleNamespace(
        name=NAME, major=major, minor=minor, total_memory=MEMORY.total, multi_processor_count=132, is_integrated=0
    )
    torch.cuda.device_count = lambda: count
    torch.cuda.get_device_properties = lambda *_: properties
    torch.cuda.get_device_capability = lambda *_: CAPABILITY
    torch.cuda.get_device_name = lambda *_: NAME

    @wrapt.when_imported("vllm.third_party.pynvml")
    def answer(nvml: ModuleType) -> None:
        nvml.nvmlInit = nvml.nvmlShutdown = lambda *_: None
        nvml.nvmlDeviceGetCount = lambda: count
        nvml.nvmlDeviceGetHandleByIndex = lambda index: index
        nvml.nvmlDeviceGetCudaComputeCapability = lambda _: CAPABILITY
        nvml.nvmlDeviceGetName = lambda _: NAME
        nvml.nvmlDeviceGetUUID = lambda handle: f"GPU-{handle}"
        nvml.nvmlDeviceGetMemoryInfo = lambda _: MEMORY
        nvml.nvmlDeviceGetP2PStatus = lambda *_: 0


def builds_its_sampler(engine: Any) -> bool:
    """Whether an engine of this `VllmConfig` takes FlashInfer's sampler, which needs nvcc when it is first used."""
    from vllm.config import set_current_vllm_config
    from vllm.v1.sample.sampler import Sampler

    with set_current_vllm_config(engine):
        sampler = Sampler(engine.model_config.logprobs_mode).topk_topp_sampler
    return sampler.forward != sampler.forward_native

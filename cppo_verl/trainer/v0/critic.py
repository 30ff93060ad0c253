"""PPO's critic: verl's worker and value model, with the attention that the config asks for."""

from __future__ import annotations

import torch
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithValueHead
from verl.workers.engine_workers import TrainingWorker

FSDP = ["fsdp", "fsdp2"]


@EngineRegistry.register(model_type="value_model", backend=FSDP, device="cpu")
@EngineRegistry.register(model_type="value_model", backend=FSDP, device="cuda", vendor=["nvidia", "amd"])
class ValueEngine(FSDPEngineWithValueHead):
    """verl's, but for how the model is loaded.

    verl 0.9.1 loads a value model with flash-attn whatever the config says, and on no CPU. A token classifier with one
    label, which is what its value model is, it loads as the config says.
    """

    def _build_module(self) -> torch.nn.Module:
        """The model with a new head of one value a token, drawn with `critic.fsdp.seed`: the same in each run."""
        model, config = self.model_config, self.model_config.hf_config
        config.num_labels, config.classifier_dropout = 1, 0.0
        config.architectures = [f"{type(config).__name__.removesuffix('Config')}ForTokenClassification"]
        model.model_type = "language_model"  # what is loaded by `config.architectures`
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.engine_config.seed)
                return super()._build_module()
        finally:
            model.model_type = "value_model"


class CriticWorker(TrainingWorker):
    """verl's worker of a critic; its module registers the engine above in the worker's process."""

"""What verl sends an engine on other devices of a model with LoRA: with `merge`, the adapters are in the weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM, Qwen2Config
from verl.workers.engine.fsdp import transformer_impl
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

SMALL = Qwen2Config(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    vocab_size=64,
)


UP = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def adapted(mesh, monkeypatch) -> torch.nn.Module:
    """A model with adapters that change it, and verl's engine made to run without a GPU."""
    monkeypatch.setattr(transformer_impl, "get_device_id", lambda: "cpu")
    monkeypatch.setattr(transformer_impl, "log_gpu_memory_usage", lambda *_, **__: None)
    monkeypatch.setattr("verl.utils.fsdp_utils.get_torch_device", lambda: SimpleNamespace(empty_cache=lambda: None))
    base = AutoModelForCausalLM.from_config(SMALL)
    return get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))


def shard(model: torch.nn.Module, mesh) -> None:
    """FSDP2, as verl does it: each layer, then all."""
    for layer in model.base_model.model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def sent(model: torch.nn.Module, *, merge: bool) -> dict[str, torch.Tensor]:
    """What `update_weights` sends of a sharded model."""
    engine = object.__new__(FSDPEngineWithLMHead)
    engine.module, engine._uses_fsdp2_cpu_offload_policy = model, True
    engine._is_offload_param = engine._qat_enabled = False
    engine.model_config = SimpleNamespace(lora={"merge": merge}, hf_config=SMALL)
    return {name: weight.float() for name, weight in engine.get_per_tensor_param()[0]}


def test_merged_adapters_are_in_the_weights(adapted, mesh):
    projection = adapted.base_model.model.model.layers[0].mlp.up_proj
    whole = (projection.base_layer.weight + projection.get_delta_weight("default")).detach().clone()
    shard(adapted, mesh)
    for time in ("first", "again"):
        weights = sent(adapted, merge=True)
        assert not [name for name in weights if "lora" in name], time
        torch.testing.assert_close(weights[UP], whole, atol=1e-2, rtol=1e-2, msg=f"{time}, in bfloat16")


def test_others_are_not_sent(adapted, mesh):
    """Why that is refused; should this fail, verl sends them, and the refusal can go."""
    base = adapted.base_model.model.model.layers[0].mlp.up_proj.base_layer.weight.detach().clone()
    shard(adapted, mesh)
    weights = sent(adapted, merge=False)
    assert not [name for name in weights if "lora" in name]
    (found,) = (weight for name, weight in weights.items() if UP.removesuffix("weight") in name)
    assert torch.equal(found, base)

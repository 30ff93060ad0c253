"""Sequences that share a row do not see each other: verl's own forward, packed as on GPUs, beside one by one.

Attention through sdpa, as `device=gpu` takes it without flash-attn; with gradient checkpointing, with entropy, in
float32 and under bfloat16's autocast.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
import verl.utils.torch_functional as verl_F
from tensordict import TensorDict
from transformers import Qwen2Config, Qwen2ForCausalLM
from verl.models.transformers.monkey_patch import apply_monkey_patch
from verl.utils import tensordict_utils as tu
from verl.workers.engine.fsdp import transformer_impl
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

LENGTHS = (37, 211, 5, 2, 96, 140)
VOCABULARY = 500
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.2}
"""Of log-probs, whose mean is about -9: those of a sequence that saw others would be off by several."""
OF_GRADIENTS = {torch.float32: 1e-4, torch.bfloat16: 0.1}
"""Relative, of the norm."""


@pytest.fixture
def on_cpu(monkeypatch):
    """verl's platform is the GPU's here, and its forward asks for the device."""
    for name in ("get_device_name", "get_device_id"):
        monkeypatch.setattr(transformer_impl, name, lambda: "cpu")


@dataclass
class Passed:
    """Of a forward and, in training, a backward."""

    log_probs: list[torch.Tensor]
    """Of each sequence, `(length - 1,)`: the last token's is of another sequence's first, and not used."""
    entropy: list[torch.Tensor]
    """Of each, `(length,)`."""
    gradient: torch.Tensor | None
    """Of all weights, in a row."""


def build_model(checkpointing: bool) -> Qwen2ForCausalLM:
    """A small model that is sure of what it says, so that a wrong context shows, with verl's changes to it."""
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "vocab_size": VOCABULARY}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 2, "max_position_embeddings": 4096}
    model = Qwen2ForCausalLM(Qwen2Config(**shape, **heads, attn_implementation="sdpa"))
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)
    apply_monkey_patch(model=model, use_remove_padding=True, ulysses_sp_size=1, use_fused_kernels=False)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def build_engine(model: Qwen2ForCausalLM, dtype: torch.dtype) -> FSDPEngineWithLMHead:
    """verl's engine around a model that is not sharded."""
    engine = object.__new__(FSDPEngineWithLMHead)
    engine.module, engine._autocast_dtype = model, dtype
    engine.use_ulysses_sp = engine.pad_to_length = False
    engine.pad_to_length_bucket = 1024
    engine.engine_config = SimpleNamespace(entropy_checkpointing=False, entropy_from_logits_with_chunking=False)
    engine.compute_entropy_from_logits = verl_F.entropy_from_logits
    engine.get_data_parallel_group = lambda: None
    return engine


def micro_batch(sequences: list[torch.Tensor]) -> TensorDict:
    """As verl's workers pack one."""
    positions = [torch.arange(len(sequence)) for sequence in sequences]
    columns = {
        "input_ids": torch.nested.as_nested_tensor(sequences, layout=torch.jagged),
        "position_ids": torch.nested.as_nested_tensor(positions, layout=torch.jagged),
    }
    batch = TensorDict(columns, batch_size=[len(sequences)])
    own = {"use_remove_padding": True, "calculate_entropy": True, "use_fused_kernels": False, "pad_token_id": 0}
    tu.assign_non_tensor(batch, temperature=1.0, **own)
    return batch


def run(engine: FSDPEngineWithLMHead, rows: list[list[torch.Tensor]], *, training: bool) -> Passed:
    """verl's `forward_step` on each row of packed sequences, and the gradient of all log-probs' sum."""
    engine.module.train(training).zero_grad()
    log_probs, entropy = [], []

    def loss(model_output, **_):
        kept = [of_one[:-1] for of_one in model_output["log_probs"].unbind()]
        log_probs.extend(of_one.detach().float() for of_one in kept)
        entropy.extend(of_one.detach().float() for of_one in model_output["entropy"].unbind())
        return torch.cat(kept).sum(), {}

    for row in rows:
        with torch.set_grad_enabled(training):
            total, _ = engine.forward_step(micro_batch(row), loss, forward_only=not training)
        if training:
            total.backward()
    weights = engine.module.parameters()
    return Passed(log_probs, entropy, torch.cat([w.grad.flatten() for w in weights]) if training else None)


def furthest(some: list[torch.Tensor], others: list[torch.Tensor]) -> float:
    return max((one - other).abs().max().item() for one, other in zip(some, others, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("training", [False, True], ids=["forward", "update"])
def test_packed_is_one_by_one(on_cpu, training, dtype):
    engine = build_engine(build_model(checkpointing=training), dtype)
    sequences = [torch.randint(0, VOCABULARY, (length,)) for length in LENGTHS]
    packed = run(engine, [sequences], training=training)
    alone = run(engine, [[sequence] for sequence in sequences], training=training)
    assert torch.cat(alone.log_probs).mean() < -5  # so that the tolerance means something
    assert furthest(packed.log_probs, alone.log_probs) < TOLERANCE[dtype]
    assert furthest(packed.entropy, alone.entropy) < TOLERANCE[dtype]
    if training:
        off = (packed.gradient - alone.gradient).norm() / alone.gradient.norm()
        assert off < OF_GRADIENTS[dtype]


@pytest.mark.parametrize("change", [{"use_cache": True}, {"attention_mask": torch.ones(1, sum(LENGTHS))}])
def test_what_would_let_them_see_each_other_shows(on_cpu, change):
    """transformers takes the packing from the positions alone, and only without a mask and a cache."""
    model = build_model(checkpointing=False).eval()
    ids = torch.randint(0, VOCABULARY, (1, sum(LENGTHS)))
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    with torch.no_grad():
        asked = {"use_cache": False} | change
        seen = model(input_ids=ids, position_ids=positions, **asked).logits.log_softmax(-1)
        right = model(input_ids=ids, position_ids=positions, use_cache=False).logits.log_softmax(-1)
    assert (seen - right).abs().max() > 1

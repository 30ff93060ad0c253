"""How much memory a device needs, in bytes: the large parts, from a model's shape and what is run.

Of verl 0.9.1 with FSDP2, of dense decoders as transformers writes them, with attention through sdpa. What is kept of a
layer was read off what autograd saves; `scripts/measure_memory.py` measures the whole. With flash-attn less is needed:
no mask, keys and values not repeated, and a cross entropy that works in place. The entropy that verl takes beside the
old log-probs is reckoned to be compiled, as is its default on GPUs: then it needs no copy of the logits.
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30
FLOAT, HALF = 4, 2
"""Bytes of a number: of weights, gradients and moments, and of a mixed-precision forward."""
TOKENS_AT_ONCE = 512
"""Of which `trainer.log_probs` takes the log-probs at a time."""
LOGIT_COPIES = {HALF: 3, FLOAT: 3}
"""How often the logits are held, in their own type. Of bfloat16 also their log-softmax, which CUDA's autocast makes
float32. Of float32 the packed copy, and in the backward the gradients of its parts and their sum."""
PART_COPIES = {HALF: 1, FLOAT: 2}
"""How often those of `TOKENS_AT_ONCE` tokens are held beside, in float32."""


def gib(size: float) -> str:
    """Bytes in GiB, to a tenth."""
    return f"{size / GIB:.1f}"


@dataclass(frozen=True)
class Model:
    """What the estimate needs to know of a model."""

    parameters: int
    layers: int
    hidden: int
    vocabulary: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    tied: bool
    """Input and output embedding are one."""

    @property
    def embedding(self) -> int:
        """Parameters of one embedding."""
        return self.vocabulary * self.hidden

    @property
    def layer(self) -> int:
        """Parameters of a layer."""
        return (self.parameters - self.embedding * (1 if self.tied else 2)) // self.layers

    def adapter(self, rank: int) -> int:
        """Parameters of LoRA adapters of all linear layers (arXiv 2106.09685, section 4.1)."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        widths = 2 * (self.hidden + queries) + 2 * (self.hidden + keys) + 3 * (self.hidden + self.intermediate)
        return rank * widths * self.layers


@dataclass(frozen=True)
class Training:
    """How a model is trained."""

    ranks: int
    """Devices that FSDP shards over."""
    tokens: int
    """Of a micro-batch, a device: the token budget."""
    longest: int
    """Tokens of the longest sequence."""
    half: bool = True
    """Forward and backward in bfloat16."""
    packed: bool = True
    """Sequences lie in one row, without padding."""
    checkpointing: bool = True
    """Gradient checkpointing: a layer's activations are computed again in the backward."""
    offload_policy: bool = False
    """FSDP2's: weights, gradients and optimiser states stay on the CPU, a layer comes to the device when it is used."""
    foreach: bool = True
    """Adam's step runs over all weights at once, which is torch's default on GPUs."""
    sequence_shards: int = 1
    """Ulysses' ranks that share a micro-batch; `tokens` are those of one of them."""
    lora_rank: int = 0
    reference: bool = False
    """A reference model lies on the device too; verl's FSDP keeps it on the CPU, but for the CPU platform."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device while a model is updated, without fragmentation."""

    weights: int
    """float32, sharded (ZeRO stage 3, arXiv 1910.02054, section 5.3, as FSDP does it)."""
    gradients: int
    """float32, sharded."""
    optimizer: int
    """Adam's two moments, float32, sharded."""
    reference: int
    """float32 weights, sharded."""
    gathered: int
    """What FSDP2 gathers: the root's weights and their gradients (the embeddings that it does not shard again), of a
    layer and of the next one the weights, of a layer the gradients and their float32 copy to be reduced."""
    activations: int
    """Kept for the backward: of each layer its input with gradient checkpointing, else all that autograd saves; and the
    mask that layers make theirs of, a byte for each pair of tokens in a row."""
    layer: int
    """The backward of one layer: its activations, where they are computed again, and the gradients that pass."""
    logits: int
    """Of one micro-batch, and what the log-probs' backward needs beside them."""
    step: int
    """What Adam's step takes beside its states: as much as the gradients (torch.optim, `foreach`)."""
    critic: int = 0
    """Of a critic that lies on the device too: its weights and moments, float32, sharded."""

    @property
    def resident(self) -> int:
        """What stays between updates, but for the gradients, which verl sets free."""
        return self.weights + self.optimizer + self.reference + self.critic

    @property
    def total(self) -> int:
        """The most at a time: at the end of a forward, in the backward of a layer, or in the optimiser's step."""
        passes = self.gathered + self.activations + max(self.layer, self.logits)
        return self.resident + self.gradients + max(passes, self.step)


def update_memory(model: Model, training: Training) -> Memory:
    """What the update of a model takes on each device.

    The offload that is not FSDP2's own (`param_offload`, `optimizer_offload`) changes nothing here: verl brings all of
    it back to the device for an update (`BaseEngineCtx._context_switch`).
    """
    number, trained = HALF if training.half else FLOAT, model.adapter(training.lora_rank) or model.parameters
    on_device = 0 if training.offload_policy else 1
    span = training.tokens * training.sequence_shards if training.packed else training.longest
    kept, passing = _layer_bytes(model, number, span)
    inputs = number * model.hidden
    gathered = 2 * number * (model.embedding + model.layer) + (number + FLOAT) * model.layer
    if training.lora_rank:
        gathered -= number * model.embedding + (number + FLOAT) * model.layer
    return Memory(
        weights=on_device * FLOAT * model.parameters // training.ranks,
        gradients=on_device * FLOAT * trained // training.ranks,
        optimizer=on_device * 2 * FLOAT * trained // training.ranks,
        reference=FLOAT * model.parameters // training.ranks if training.reference else 0,
        gathered=gathered,
        activations=training.tokens * (span + model.layers * (inputs if training.checkpointing else kept)),
        layer=training.tokens * (passing + (kept if training.checkpointing else 0)),
        logits=logit_bytes(number, training.tokens) * model.vocabulary,
        step=on_device * FLOAT * trained // training.ranks if training.foreach else 0,
    )


def logit_bytes(number: int, tokens: int) -> int:
    """Bytes for each word of the vocabulary that the logits of a micro-batch take, of `number` bytes each."""
    return LOGIT_COPIES[number] * number * tokens + PART_COPIES[number] * FLOAT * min(tokens, TOKENS_AT_ONCE)


def _layer_bytes(model: Model, number: int, span: int) -> tuple[int, int]:
    """Bytes a token that autograd saves in one layer, and those of the gradients that pass through its backward.

    As arXiv 2205.05198, section 4.1, counts them, for this kind of layer: of each of the two norms its input in
    float32, what was normalised, and its output; queries, keys and values (repeated to all heads) and the attention's
    output; a mask over the `span` of a row; gate, up, the gate's activation and their product.
    """
    norms = 2 * model.hidden * (FLOAT + 2 * number)
    attention = 4 * number * model.heads * model.head_size + FLOAT * (model.heads + 2) + number * span
    return norms + attention + 4 * number * model.intermediate, number * (3 * model.intermediate + 3 * model.hidden)


def cache_bytes(model: Model, tensor_shards: int) -> int:
    """Bytes of the KV cache a token and device: a key and a value for each layer and head, in bfloat16.

    Source: arXiv 2309.06180, section 3. With more shards than key heads vLLM keeps a copy of a head on several.
    """
    return 2 * HALF * model.layers * model.head_size * -(-model.kv_heads // tensor_shards)


def engine_bytes(model: Model, tensor_shards: int, *, sequences: int = 1024, tokens: int = 8192) -> int:
    """Bytes a device that vLLM takes beside its cache: weights in bfloat16, and its largest forward.

    Args:
        model: The policy.
        tensor_shards: Devices that an engine is over.
        sequences: vLLM's `max_num_seqs` (the recipes' for CPPO), of each of which it has logits in float32, and samples
            from a copy.
        tokens: vLLM's `max_num_batched_tokens`.
    """
    forward = HALF * tokens * (4 * model.hidden + 3 * model.intermediate // tensor_shards)
    return HALF * model.parameters // tensor_shards + forward + 2 * FLOAT * sequences * model.vocabulary

"""verl's own FSDP2 engine on one rank of the CPU, on a benchmark's geometry: what is measured without a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from tensordict import TensorDict
from verl.trainer.config import CheckpointConfig
from verl.utils import tensordict_utils as tu
from verl.workers.config import FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig

from cppo_verl.bench.inputs import VOCABULARY, build_model
from cppo_verl.cpu.engine import CPUFSDPEngine
from cppo_verl.hardware.shapes import find_geometry


@contextmanager
def one_rank(
    geometry: str, *, half: bool = False, packed: bool = False, checkpointing: bool = False
) -> Iterator[CPUFSDPEngine]:
    """An engine with the project's settings for the device and random weights.

    Args:
        geometry: Of cppo_verl/hardware/shape_files.
        half: Forward and backward in bfloat16.
        packed: Sequences in one row, without padding.
        checkpointing: Gradient checkpointing.
    """
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    with TemporaryDirectory() as folder:
        build_model(Path(folder), find_geometry(geometry).shape, "float32")
        engine = CPUFSDPEngine(
            HFModelConfig(
                path=folder,
                use_remove_padding=packed,
                enable_gradient_checkpointing=checkpointing,
                override_config={"attn_implementation": "sdpa"},
            ),
            FSDPEngineConfig(
                strategy="fsdp2",
                use_torch_compile=False,
                mixed_precision={
                    "param_dtype": "bf16" if half else "fp32",
                    "reduce_dtype": "fp32",
                    "buffer_dtype": "fp32",
                },
                use_no_sync_for_gradient_accumulation=False,
            ),
            FSDPOptimizerConfig(lr=1e-6, total_training_steps=3),
            CheckpointConfig(),
        )
        engine.initialize()
    try:
        yield engine
    finally:
        dist.destroy_process_group()


def forward(engine: CPUFSDPEngine, batch: TensorDict) -> None:
    """Log-probs of one micro-batch, as of the old policy."""
    with engine.eval_mode():
        engine.infer_batch(batch, lambda model_output, data, dp_group: (torch.zeros(()), {}))


def update(engine: CPUFSDPEngine, batch: TensorDict) -> None:
    """One micro-batch of the token budget: forward, log-probs, backward, Adam's step."""

    def loss(model_output, data, dp_group):
        return -model_output["log_probs"].values().mean(), {}

    with engine.train_mode():
        engine.train_batch(batch, loss)


def micro_batch(tokens: int, length: int, *, packed: bool) -> TensorDict:
    """Rows of `length` random tokens, one of which is shorter, so that there is a mask."""
    lengths = [length] * (tokens // length - 1) + [length - 1]
    ids = torch.nested.as_nested_tensor(
        [torch.randint(0, VOCABULARY // 2, (length,)) for length in lengths], layout=torch.jagged
    )
    positions = torch.cat([torch.arange(length) for length in lengths])
    columns = {
        "input_ids": ids,
        "position_ids": torch.nested.nested_tensor_from_jagged(positions, ids.offsets()),
        "loss_mask": torch.nested.nested_tensor_from_jagged(torch.ones(len(positions)), ids.offsets()),
    }
    batch = TensorDict(columns, batch_size=[len(lengths)])
    tu.assign_non_tensor(
        batch,
        use_dynamic_bsz=True,
        max_token_len_per_gpu=tokens,
        use_remove_padding=packed,
        temperature=1.0,
        calculate_entropy=False,
    )
    return batch

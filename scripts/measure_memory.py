"""Measure what an update takes, on the CPU: verl's own FSDP2 engine on one rank, on a benchmark's geometry.

python scripts/measure_memory.py [--geometry small] [--tokens 2048] [--length 128] [--half] [--packed] [--checkpointing]

Prints one line of JSON, in bytes: `allocated`, the most that tensors took at a time, counted by torch's `MemTracker`
(what `torch.cuda.max_memory_allocated` would be, without its rounding); `resident`, the weights and the optimiser's
states, which are there before an update; `grown`, by how much the process was larger at its largest than before the
update. For the last, freed tensors are given back to the system at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

if "MALLOC_MMAP_THRESHOLD_" not in os.environ:  # which glibc reads when a process starts
    own = {"VERL_PLATFORM": "cpu", "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | own)

import torch
import torch.distributed as dist
from tensordict import TensorDict
from torch.distributed._tools.mem_tracker import MemTracker
from torch.overrides import TorchFunctionMode
from verl.trainer.config import CheckpointConfig
from verl.utils import tensordict_utils as tu
from verl.workers.config import FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig

import cppo_verl.trainer.log_probs  # noqa: F401  (as in a run's workers)
from cppo_verl.bench.inputs import VOCABULARY, build_model
from cppo_verl.cpu.engine import CPUFSDPEngine
from cppo_verl.cpu.platform import PlatformCPU
from cppo_verl.hardware.shapes import find_geometry


def main() -> None:
    """Build, update once for the optimiser's states, then measure an update each way."""
    args = _parse_args()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    with tempfile.TemporaryDirectory() as folder:
        build_model(Path(folder), find_geometry(args.geometry).shape, "float32")
        engine = make_engine(folder, args)
    update(engine, args)
    device = PlatformCPU.device_module
    before = device.memory_allocated()
    device.reset_peak_memory_stats()
    update(engine, args)
    grown = device.max_memory_allocated() - before
    tracker = MemTracker()
    tracker.track_external(engine.module, engine.optimizer)
    with tracker:
        update(engine, args)
    allocated = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    states = [*engine.module.parameters(), *(s for g in engine.optimizer.state.values() for s in g.values())]
    resident = sum(tensor.numel() * tensor.element_size() for tensor in states)
    print(json.dumps({"allocated": allocated, "grown": grown, "resident": resident}))
    dist.destroy_process_group()


class CUDAAutocast(TorchFunctionMode):
    """What autocast does on a GPU and not on the CPU: the log-softmax of bfloat16 in float32."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.nn.functional.log_softmax, torch.Tensor.log_softmax):
            args = args[0].float(), *args[1:]
        return function(*args, **(kwargs or {}))


def make_engine(folder: str, args: argparse.Namespace) -> CPUFSDPEngine:
    """verl's engine, with the project's settings for the device."""
    dtype = "bf16" if args.half else "fp32"
    engine = CPUFSDPEngine(
        HFModelConfig(
            path=folder,
            use_remove_padding=args.packed,
            enable_gradient_checkpointing=args.checkpointing,
            override_config={"attn_implementation": "sdpa"},
        ),
        FSDPEngineConfig(
            strategy="fsdp2",
            use_torch_compile=False,
            mixed_precision={"param_dtype": dtype, "reduce_dtype": "fp32", "buffer_dtype": "fp32"},
            use_no_sync_for_gradient_accumulation=False,
        ),
        FSDPOptimizerConfig(lr=1e-6, total_training_steps=3),
        CheckpointConfig(),
    )
    engine.initialize()
    return engine


def update(engine: CPUFSDPEngine, args: argparse.Namespace) -> None:
    """One micro-batch of the token budget: forward, log-probs, backward, Adam's step."""

    def loss(model_output, data, dp_group):
        return -model_output["log_probs"].values().mean(), {}

    with engine.train_mode(), CUDAAutocast():
        engine.train_batch(micro_batch(args), loss)


def micro_batch(args: argparse.Namespace) -> TensorDict:
    """Rows of random tokens, one of which is shorter, so that there is a mask."""
    lengths = [args.length] * (args.tokens // args.length - 1) + [args.length - 1]
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
        max_token_len_per_gpu=args.tokens,
        use_remove_padding=args.packed,
        temperature=1.0,
        calculate_entropy=False,
    )
    return batch


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--geometry", default="small", help="of cppo_verl/bench/conf")
    parser.add_argument("--tokens", type=int, default=2048, help="token budget of the micro-batch")
    parser.add_argument("--length", type=int, default=128, help="tokens of a sequence")
    parser.add_argument("--half", action="store_true", help="forward and backward in bfloat16")
    parser.add_argument("--packed", action="store_true", help="sequences in one row, without padding")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    return parser.parse_args()


if __name__ == "__main__":
    main()

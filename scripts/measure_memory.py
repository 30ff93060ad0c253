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

if "MALLOC_MMAP_THRESHOLD_" not in os.environ:  # which glibc reads when a process starts
    own = {"VERL_PLATFORM": "cpu", "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | own)

import torch
from one_rank import micro_batch, one_rank, update
from torch.distributed._tools.mem_tracker import MemTracker
from torch.overrides import TorchFunctionMode

import cppo_verl.trainer.log_probs  # noqa: F401  (as in a run's workers)
from cppo_verl.cpu.engine import CPUFSDPEngine
from cppo_verl.cpu.platform import PlatformCPU


def main() -> None:
    """Build, update once for the optimiser's states, then measure an update each way."""
    args = _parse_args()
    with one_rank(args.geometry, half=args.half, packed=args.packed, checkpointing=args.checkpointing) as engine:
        print(json.dumps(measured(engine, args)))


def measured(engine: CPUFSDPEngine, args: argparse.Namespace) -> dict[str, int]:
    """The three sizes, in bytes."""

    def step() -> None:
        with CUDAAutocast():
            update(engine, micro_batch(args.tokens, args.length, packed=args.packed))

    step()
    device = PlatformCPU.device_module
    before = device.memory_allocated()
    device.reset_peak_memory_stats()
    step()
    grown = device.max_memory_allocated() - before
    tracker = MemTracker()
    tracker.track_external(engine.module, engine.optimizer)
    with tracker:
        step()
    allocated = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    states = [*engine.module.parameters(), *(s for g in engine.optimizer.state.values() for s in g.values())]
    resident = sum(tensor.numel() * tensor.element_size() for tensor in states)
    return {"allocated": allocated, "grown": grown, "resident": resident}


class CUDAAutocast(TorchFunctionMode):
    """What autocast does on a GPU and not on the CPU: the log-softmax of bfloat16 in float32."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.nn.functional.log_softmax, torch.Tensor.log_softmax):
            args = args[0].float(), *args[1:]
        return function(*args, **(kwargs or {}))


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--geometry", default="small", help="of cppo_verl/hardware/shape_files")
    parser.add_argument("--tokens", type=int, default=2048, help="token budget of the micro-batch")
    parser.add_argument("--length", type=int, default=128, help="tokens of a sequence")
    parser.add_argument("--half", action="store_true", help="forward and backward in bfloat16")
    parser.add_argument("--packed", action="store_true", help="sequences in one row, without padding")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    return parser.parse_args()


if __name__ == "__main__":
    main()

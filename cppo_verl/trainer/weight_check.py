"""Whether the weights that are trained are finite, asked of the workers that hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from verl import DataProto
from verl.single_controller.base import Worker, WorkerGroup

NAMES = "not_finite"


def not_finite(workers: WorkerGroup) -> list[str]:
    """Names of the weights of which some are infinite or no number, sorted."""
    found = workers.execute_with_func_generator(look_at_shards).non_tensor_batch[NAMES]
    return sorted({name for names in found for name in names.split("\n") if name})


def look_at_shards(worker: Worker) -> DataProto:
    """What one worker, of verl's actor or of its critic, finds among its own shards: no rank waits for another."""
    names = not_finite_here(getattr(worker, "actor", worker).engine.module)
    return DataProto.from_dict(non_tensors={NAMES: np.array(["\n".join(names)], dtype=object)})


def not_finite_here(module: torch.nn.Module | list[torch.nn.Module]) -> list[str]:
    """The same of one rank's shards of an engine's module; Megatron's are one a stage of its pipeline."""
    modules = module if isinstance(module, list) else [module]
    return [name for part in modules for name, weight in part.named_parameters() if not is_finite(weight)]


@torch.no_grad()
def is_finite(weight: Any) -> bool:
    """Of this rank's part of a weight, sharded or not."""
    local = weight.to_local() if hasattr(weight, "to_local") else weight
    return not local.is_floating_point() or bool(torch.isfinite(local).all())

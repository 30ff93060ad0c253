"""The worker that verl's trainers are given on the CPU."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
import torch.distributed as dist
from verl.experimental.separation.engine_workers import DetachActorWorker
from verl.workers.engine_workers import ActorRolloutRefWorker

import cppo_verl.cpu.engine  # noqa: F401  (registers the engine in the worker's process)


class _GlooFirst:
    """Over a worker of verl's: the process group is made first.

    verl would ask for `cpu:gloo,cpu:gloo`, which torch refuses as a duplicate, but leaves a group that is
    there alone.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if not dist.is_initialized():
            dist.init_process_group(
                backend="gloo",
                rank=int(os.environ["RANK"]),
                world_size=int(os.environ["WORLD_SIZE"]),
                init_method=os.environ.get("DIST_INIT_METHOD"),
            )


class CPUActorRolloutRefWorker(_GlooFirst, ActorRolloutRefWorker):
    """verl's worker of the trainers whose engine is on the same devices."""


class CPUDetachActorWorker(_GlooFirst, DetachActorWorker):
    """verl's worker of `separate_async`, which puts weights aside and takes them back."""

    @property
    def copy_handler(self) -> Callable:
        """verl's copies the weights by moving them to the CPU, where they are: a copy is made here."""
        save = super().copy_handler

        def save_copies(model: torch.nn.Module):
            weights, spec = save(model)
            return {name: (weight.clone(), of_one) for name, (weight, of_one) in weights.items()}, spec

        return save_copies

"""The workers that verl's trainers are given on the CPU."""

from __future__ import annotations

import os

import ray
import torch.distributed as dist
from verl.experimental.separation.engine_workers import DetachActorWorker
from verl.workers.engine_workers import ActorRolloutRefWorker

import cppo_verl.cpu.engine  # noqa: F401  (registers the engine in the worker's process)


class _OverGloo:
    """Makes the process group before verl does.

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


class CPUActorRolloutRefWorker(_OverGloo, ActorRolloutRefWorker):
    """verl's worker of the trainers whose engine shares its device."""


class CPUDetachActorWorker(_OverGloo, DetachActorWorker):
    """verl's worker of the trainers whose engine has devices of its own."""


def cpu_worker(actor: ray.actor.ActorClass) -> ray.actor.ActorClass:
    """The CPU's in place of a Ray actor of verl's."""
    is_detached = issubclass(actor.__ray_metadata__.modified_class, DetachActorWorker)
    return ray.remote(CPUDetachActorWorker if is_detached else CPUActorRolloutRefWorker)

"""The worker that verl's trainers are given on the CPU."""

from __future__ import annotations

import os

import torch.distributed as dist
from verl.workers.engine_workers import ActorRolloutRefWorker

import cppo_verl.cpu.engine  # noqa: F401  (registers the engine in the worker's process)


class GlooFirst:
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


class CPUActorRolloutRefWorker(GlooFirst, ActorRolloutRefWorker):
    """verl's worker."""

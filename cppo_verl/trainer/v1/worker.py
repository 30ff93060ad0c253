"""The worker of `separate_async`, which puts weights aside for the old log-probs of a step's cycles."""

from __future__ import annotations

from collections.abc import Callable

import torch
from verl.experimental.separation.engine_workers import DetachActorWorker

from cppo_verl.cpu.worker import GlooFirst

ALIASED = "fsdp2", "veomni"
"""`actor_rollout_ref.actor.strategy`s whose weights verl 0.9.1 puts aside by moving them to the CPU; of the others' it
makes copies."""


class KeepingWorker(DetachActorWorker):
    """verl's, with copies of weights that are on the CPU already, as with `param_offload`.

    verl's would be those weights themselves: what is put aside changes with each update, and the first weights, once
    they are taken back for a cycle's old log-probs, stay.
    """

    @property
    def copy_handler(self) -> Callable:
        """verl's, and a copy of each weight that still shares the model's memory."""
        save = super().copy_handler
        if self.config.actor.strategy not in ALIASED:
            return save

        def save_copies(model: torch.nn.Module):
            weights, spec = save(model)
            held = {_local(weight).data_ptr() for weight in model.parameters()}
            copies = {
                name: (weight.clone() if weight.data_ptr() in held else weight, of_one)
                for name, (weight, of_one) in weights.items()
            }
            return copies, spec

        return save_copies


class CPUKeepingWorker(GlooFirst, KeepingWorker):
    """The same on the CPU."""


def _local(weight: torch.Tensor) -> torch.Tensor:
    """This rank's part."""
    return getattr(weight, "_local_tensor", weight)

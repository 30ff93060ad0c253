"""Weights from a trainer to rollout engines on devices of their own, where verl's transports need a GPU.

`actor_rollout_ref.rollout.checkpoint_engine.{backend=file,custom_backend_module=cppo_verl.weight_sync.file_transport}`
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from verl.checkpoint_engine import CheckpointEngine, CheckpointEngineRegistry

import cppo_verl.weight_sync.register  # noqa: F401  (verl imports one module here)

WEIGHTS = "weights.safetensors"
POLL_SECONDS = 0.02


@CheckpointEngineRegistry.register("file")
class FileCheckpointEngine(CheckpointEngine):
    """Through a file in the machine's temporary folder: one machine only, and room for one copy of the model.

    Args:
        bucket_size: Not used; the file is written whole.
        is_master: Whether this is the actor's first rank, which writes.
    """

    def __init__(self, bucket_size: int, is_master: bool = False):
        self.is_master = is_master

    def prepare(self) -> str | None:
        """The folder of the next transfer, from the writer."""
        return tempfile.mkdtemp(prefix="cppo_weights_") if self.is_master else None

    @classmethod
    def build_topology(cls, actor_wg_world_size: int, rollout_world_size: int, metadata: list[str | None]):
        """The writer's folder for everyone."""
        return {"folder": metadata[:1] * actor_wg_world_size}, {"folder": metadata[:1] * rollout_world_size}

    def init_process_group(self, folder: str) -> None:
        """Take the folder of the next transfer."""
        self.folder = Path(folder)

    def finalize(self) -> None:
        """Delete it."""
        if self.is_master:
            shutil.rmtree(self.folder)

    async def send_weights(
        self, weights: Generator[tuple[str, torch.Tensor], None, None], global_steps: int | None = None
    ) -> None:
        """Write the file whole, then name it. Every rank walks the weights: they are gathered on the way."""
        if not self.is_master:
            for _ in weights:
                pass
            return
        partial = self.folder / f".{WEIGHTS}"
        save_file({name: weight.detach().cpu().contiguous().clone() for name, weight in weights}, partial)
        partial.rename(self.folder / WEIGHTS)

    async def receive_weights(self, global_steps: int | None = None) -> AsyncGenerator[tuple[str, torch.Tensor], None]:
        """Name and tensor of each weight, when the file is there."""
        while not (self.folder / WEIGHTS).exists():
            await asyncio.sleep(POLL_SECONDS)
        with safe_open(self.folder / WEIGHTS, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  (no mapping)
                yield name, file.get_tensor(name)

"""How much memory a device needs while new weights go from the trainer to the rollout engine, in bytes.

verl 0.9.1, FSDP2 and vLLM. The engine's cache is freed meanwhile (`free_cache_engine`): what is sent lies beside the
engine's own weights. On V0, and on V1 while trainer and engine share devices, each rank gathers one weight after the
other and copies them into a bucket that the engine reads where it lies (`BucketedWeightSender`). With
`mode=separate_async` every rank has two buckets, one filled while the other is broadcast (`NCCLCheckpointEngine`); a
device of the engine has these two and the one that vLLM reads from.
"""

from __future__ import annotations

from dataclasses import dataclass

from cppo_verl.hardware.memory import FLOAT, HALF, Model

MEBI = 2**20
LEAST_BUCKET = 2048
"""verl's default, in MiB."""


@dataclass(frozen=True)
class Sync:
    """Bytes on one device while weights are sent."""

    training: int
    """What training keeps between updates."""
    engine: int
    """vLLM's weights, bfloat16."""
    buckets: int
    """All of them. Trainer and engine have one memory for a bucket that they share."""
    gathered: int
    """Whole weights, float32: one, and the one before it until it is released."""

    @property
    def total(self) -> int:
        """All of it is there at a time."""
        return self.training + self.engine + self.buckets + self.gathered


def bucket_megabytes(model: Model) -> int:
    """`update_weights_bucket_megabytes`, MiB: verl's, doubled until it holds the largest weight."""
    size = LEAST_BUCKET
    while size * MEBI < FLOAT * largest_weight(model):
        size *= 2
    return size


def largest_weight(model: Model) -> int:
    """Parameters of it."""
    return max(model.embedding, model.hidden * model.intermediate)


def shared_sync(model: Model, tensor_shards: int, training: int) -> Sync:
    """On a device that trainer and engine share."""
    engine = HALF * model.parameters // tensor_shards
    return Sync(training, engine, bucket_megabytes(model) * MEBI, _gathered(model))


def separate_sync(model: Model, tensor_shards: int, training: int) -> tuple[Sync, Sync]:
    """On a device of the trainer, and on one of the engine, where they are apart."""
    bucket = bucket_megabytes(model) * MEBI
    engine = HALF * model.parameters // tensor_shards
    return Sync(training, 0, 2 * bucket, _gathered(model)), Sync(0, engine, 3 * bucket, 0)


def _gathered(model: Model) -> int:
    """Of two that follow each other: the input embedding and the first layer's queries, or the layer's gate and up."""
    queries = model.hidden * model.heads * model.head_size
    return FLOAT * max(model.embedding + queries, 2 * model.hidden * model.intermediate)

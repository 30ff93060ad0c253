"""Which settings let a model train on the devices there are: plain functions of sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.hardware.memory import FLOAT, GIB, Memory, Model, Training, cache_bytes, engine_bytes, update_memory
from cppo_verl.hardware.sync import Sync, shared_sync

OFFLOADS = ("none", "between updates", "always")
"""Where weights and optimiser states are: on the device; on the CPU but for an update (`param_offload` and
`optimizer_offload`: makes room for the engine's cache); on the CPU but for a layer at a time (`offload_policy`: makes
room for the update). Each is slower than the one before."""
RESERVE = 3 * GIB
"""Assumed, not measured: CUDA's and NCCL's buffers, and what a sleeping vLLM keeps, its graphs among it."""
SLACK = 0.1
"""Assumed, not measured: the share of a device's memory that fragmentation makes useless."""
MOST_DEVICES = 4096
MOST_TOKENS = 32768
STEP_TOKENS = 1024
"""Token budgets are multiples of it, unless the longest sequence asks for another."""
SEQUENCES = 16
"""Of the longest sequences, that an engine's cache holds at least where more shards can do it."""
MOST_UTILIZATION = 85
"""Percent."""


@dataclass(frozen=True)
class Job:
    """What is to be trained, and on what."""

    model: Model
    devices: int
    memory: int
    """Bytes of a device."""
    longest: int
    """Tokens of prompt and response."""
    devices_per_node: int = 8
    critic: bool = False
    """PPO's: a second model of the same size is trained on the same devices."""
    flash: bool = False
    """Attention through flash-attn, which takes each sequence of a packed row by itself. torch's own takes every pair
    of tokens of the row, so that rows longer than the longest sequence are not worth it."""

    @property
    def usable(self) -> int:
        """Bytes of a device that the estimate may fill."""
        return int(self.memory * (1 - SLACK)) - RESERVE

    @property
    def per_node(self) -> int:
        """Devices of a node that is used."""
        return min(self.devices, self.devices_per_node)


@dataclass(frozen=True)
class Fit:
    """Settings that fit."""

    job: Job
    offload: str
    tokens: int
    """Of a micro-batch."""
    tensor_shards: int
    utilization: int
    """Percent of a device's memory that the rollout engine takes."""

    @property
    def update(self) -> Memory:
        """Of the policy with the critic beside it, which is also the other way round."""
        return job_memory(self.job, self.offload, self.tokens)

    @property
    def idle(self) -> int:
        """Bytes a device that training keeps while completions are sampled."""
        return idle_bytes(self.job, self.offload)

    @property
    def sync(self) -> Sync:
        """While weights go to the engine."""
        return shared_sync(self.job.model, self.tensor_shards, self.idle)

    @property
    def offloaded(self) -> int:
        """Bytes of a node's own memory that is offloaded to: weights and moments, and with `always` the gradients."""
        if self.offload == OFFLOADS[0]:
            return 0
        job = self.job
        gradients = (2 if job.critic else 1) * FLOAT * job.model.parameters if self.offload == OFFLOADS[-1] else 0
        return (idle_bytes(replace(job, devices=1), OFFLOADS[0]) + gradients) * job.per_node // job.devices

    @property
    def cache_tokens(self) -> int:
        """Tokens that the caches of an engine hold."""
        return cache_tokens(self.job, self.tensor_shards, self.utilization)


def training(job: Job, offload: str, tokens: int) -> Training:
    """How a job trains with an offload and a token budget, on GPUs with the recipes' other settings."""
    return Training(ranks=job.devices, tokens=tokens, longest=job.longest, offload_policy=offload == "always")


def job_memory(job: Job, offload: str, tokens: int) -> Memory:
    """What is on a device while one of a job's models is updated, with the other one beside it."""
    memory = update_memory(job.model, training(job, offload, tokens))
    return replace(memory, critic=memory.resident) if job.critic and offload == "none" else memory


def update_bytes(job: Job, offload: str, tokens: int) -> int:
    """The most that is on a device while one of its models is updated."""
    return job_memory(job, offload, tokens).total


def idle_bytes(job: Job, offload: str) -> int:
    """What of training is on a device while completions are sampled: float32 weights and Adam's moments, sharded."""
    models = 2 if job.critic else 1
    return models * 3 * FLOAT * job.model.parameters // job.devices if offload == "none" else 0


def cache_tokens(job: Job, tensor_shards: int, utilization: int) -> int:
    """Tokens that an engine's cache holds: what vLLM's weights and forward leave of its share of a device."""
    left = job.memory * utilization // 100 - engine_bytes(job.model, tensor_shards)
    return max(0, left // cache_bytes(job.model, tensor_shards))


def fit(job: Job) -> Fit:
    """The fastest settings that fit: the least offload, with it the largest token budget and the fewest tensor shards.

    Raises:
        ConfigError: None fits; it says how many devices would do, or how long sequences may be.
    """
    for offload in OFFLOADS:
        if (tokens := most_tokens(job, offload)) and (engine := engine_share(job, offload)):
            return Fit(job, offload, tokens, *engine)
    raise ConfigError(why_not(job))


def most_tokens(job: Job, offload: str) -> int:
    """The largest token budget that fits, from one longest sequence on; 0 where not even that does."""
    larger = range(MOST_TOKENS, job.longest, -STEP_TOKENS) if job.flash else ()
    budgets = [*larger, job.longest]
    return next((tokens for tokens in budgets if update_bytes(job, offload, tokens) <= job.usable), 0)


def engine_share(job: Job, offload: str) -> tuple[int, int] | None:
    """Tensor shards and percent of memory of the rollout engine; None where no cache for one sequence is left.

    The fewest shards whose cache holds `SEQUENCES` of the longest sequences; where none does, those that hold most.
    With fewer shards an engine's weights are larger, and those that are sent must fit beside them.
    """
    idle = idle_bytes(job, offload)
    utilization = min(MOST_UTILIZATION, (job.memory - RESERVE - idle) * 100 // job.memory // 5 * 5)
    able = [shards for shards in _shards(job) if shared_sync(job.model, shards, idle).total <= job.usable]
    if utilization <= 0 or not able:
        return None
    held = {shards: cache_tokens(job, shards, utilization) // job.longest for shards in able}
    best = next((shards for shards, n in held.items() if n >= SEQUENCES), max(held, key=held.get))
    return (best, utilization) if held[best] else None


def why_not(job: Job) -> str:
    """Why nothing fits, and the nearest that would: more devices, else shorter sequences."""
    model, has = job.model, f"{job.devices} device(s) of {job.memory / GIB:.0f} GiB"
    larger = [n for n in _device_counts(job) if n > job.devices] if _fits(replace(job, devices=MOST_DEVICES)) else []
    if found := next((n for n in larger if _fits(replace(job, devices=n))), None):
        return (
            f"{model.parameters / 1e9:.2f} billion parameters with sequences of {job.longest} tokens do not fit on "
            f"{has}; they fit on {found}: --gpus {found}"
        )
    shorter = next((n for n in _halves(job.longest) if _fits(replace(job, longest=n))), None)
    sync = shared_sync(model, max(_shards(job)), training=0).total
    most = (
        f"the update of one sequence of {job.longest} tokens takes {_least_gib(job)} GiB on each device, weights on "
        f"their way to the engine {-(-sync // GIB)} GiB"
    )
    if shorter:
        return (
            f"no number of devices of {job.memory / GIB:.0f} GiB is enough: {most}; sequences of {shorter} tokens fit"
        )
    return (
        f"devices of {job.memory / GIB:.0f} GiB are too small for {model.parameters / 1e9:.2f} billion parameters "
        f"({most}); --memory {_enough_gib(job)} would do"
    )


def _fits(job: Job) -> bool:
    return any(
        update_bytes(job, offload, job.longest) <= job.usable and engine_share(job, offload) for offload in OFFLOADS
    )


def _device_counts(job: Job) -> Iterator[int]:
    """Counts of devices that are whole nodes, or a part of one that is a power of two."""
    small = [n for n in (1, 2, 4) if n < job.devices_per_node]
    yield from small
    yield from range(job.devices_per_node, MOST_DEVICES + 1, job.devices_per_node)


def _halves(length: int) -> Iterator[int]:
    while (length := length // 2) >= 64:
        yield length


def _least_gib(job: Job) -> int:
    return -(-update_bytes(replace(job, devices=MOST_DEVICES), OFFLOADS[-1], job.longest) // GIB)


def _enough_gib(job: Job) -> int:
    """Of which the job fits on its devices."""
    return next(size for size in range(job.memory // GIB + 1, 10**6) if _fits(replace(job, memory=size * GIB)))


def _shards(job: Job) -> list[int]:
    """Tensor shards that devices of a node and the heads split into; key heads may be copied instead."""
    heads, kv_heads = job.model.heads, job.model.kv_heads
    return [
        n
        for n in range(1, job.per_node + 1)
        if job.per_node % n == heads % n == 0 and (kv_heads % n == 0 or n % kv_heads == 0)
    ]

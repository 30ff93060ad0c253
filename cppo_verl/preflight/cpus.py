"""The CPUs that Ray counts for a run's processes: with too few of them verl waits for ever, without a word."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig

from cppo_verl.config.cluster import joins_cluster
from cppo_verl.preflight.plan import engine_devices, is_separate

OF_DEVICE, OF_ENGINE = 3, 2
"""That verl 0.9.1 reserves for each device of a pool of workers, and for each of an engine on devices of its own."""
UNITS = "transfer_queue.backend.SimpleStorage.num_data_storage_units"
CPUS = "ray_kwargs.ray_init.num_cpus"
GROUPS = Path("/sys/fs/cgroup")


def cpus_needed(config: DictConfig) -> dict[str, int]:
    """What takes CPUs of Ray's, and how many: one a process, or what verl reserves."""
    trainer, rewards, queue = config.trainer, config.reward.reward_model, config.transfer_queue.backend
    # An actor of Ray's that asks for none takes one while it starts.
    needed = {"processes that start": 1, "the devices that train": OF_DEVICE * trainer.n_gpus_per_node * trainer.nnodes}
    if is_separate(config):
        needed["the engines' devices"] = OF_ENGINE * engine_devices(config)
    if rewards.enable and rewards.enable_resource_pool:
        needed["the reward model's devices"] = OF_DEVICE * rewards.n_gpus_per_node * rewards.nnodes
    if not trainer.use_v1:
        return needed | {"the trainer": 1}
    needed["the queue's controller"] = 1
    if queue.storage_backend == "SimpleStorage":
        needed[f"the queue's storage ({UNITS})"] = queue.SimpleStorage.num_data_storage_units
    return needed


def cpus_of_ray(groups: Path = GROUPS) -> int:
    """CPUs that Ray 2.41 to 2.60 finds on this machine: a container's share of time (cgroup v2 and v1) or its set of
    CPUs (v1 alone), where it has one; else all of them."""
    found = os.cpu_count() or 1
    if os.environ.get("RAY_USE_MULTIPROCESSING_CPU_COUNT"):
        return found
    limits = []
    with suppress(OSError, ValueError):  # not there, or "max"
        quota, period = (groups / "cpu.max").read_text().split()
        limits.append(float(quota) / float(period))
    with suppress(OSError, ValueError):
        quota, period = (float((groups / f"cpu/cpu.cfs_{what}_us").read_text()) for what in ("quota", "period"))
        limits += [quota / period] if quota > 0 else []  # -1: none
    with suppress(OSError, ValueError):
        spans = [span.split("-") for span in (groups / "cpuset/cpuset.cpus").read_text().split(",")]
        limits.append(sum(int(span[-1]) - int(span[0]) + 1 for span in spans))
    return int(min(limits)) if limits else found


def cpu_faults(config: DictConfig) -> Iterator[str]:
    """More CPUs than Ray will have on this machine, where it starts one of its own."""
    trainer, ray_init = config.trainer, config.ray_kwargs.ray_init
    nodes = max(trainer.nnodes, config.actor_rollout_ref.rollout.nnodes if is_separate(config) else 1)
    if nodes > 1 or joins_cluster(ray_init) or config.dry_run:
        return  # they are those of a cluster, or of another machine that a run is planned for
    needed, there = cpus_needed(config), ray_init.get("num_cpus") or cpus_of_ray()
    total, of_storage = sum(needed.values()), next((n for what, n in needed.items() if UNITS in what), 0)
    if total > there:
        fewer = f"set {UNITS}={there - total + of_storage}, or " if of_storage > total - there else ""
        yield (
            f"Ray would wait for ever for {total} CPUs ("
            + ", ".join(f"{number} for {what}" for what, number in needed.items())
            + f") of its {there}; {fewer or 'set '}{CPUS}={total}: Ray counts them, and binds no process to one"
        )

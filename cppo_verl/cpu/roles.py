"""Which worker of the CPU's takes a role in verl's trainers."""

from __future__ import annotations

from typing import Any

import ray
from verl.trainer.ppo.utils import Role

from cppo_verl.cpu.platform import chosen


def use_cpu_workers(role_worker_mapping: dict[Role, Any]) -> None:
    """Where verl runs on the CPU, give actor, rollout and reference our workers in place of verl's.

    Args:
        role_worker_mapping: A trainer's, changed in place; a critic's worker stays.
    """
    if not chosen():
        return
    from cppo_verl.cpu.worker import CPUActorRolloutRefWorker  # registers the CPU's engine

    worker = ray.remote(CPUActorRolloutRefWorker)
    role_worker_mapping.update(dict.fromkeys(role_worker_mapping.keys() - {Role.Critic}, worker))

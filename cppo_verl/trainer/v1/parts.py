"""The Ray actors between a V1 trainer and its rollout engines."""

from __future__ import annotations

from typing import Any

import ray
from ray.actor import ActorHandle
from verl.trainer.ppo.v1.trainer_base import PPOTrainer

from cppo_verl.trainer.v1.idle import agent_loops

CONTROLLER, NAMESPACE = "TransferQueueController", "transfer_queue"
"""TransferQueue 0.1's name of its controller, and Ray's namespace of it."""
STORAGE = "TransferQueueStorageUnit#{}"


def passing_parts(trainer: PPOTrainer) -> dict[str, ActorHandle]:
    """By what they are called in an error: the queue and the load balancers, which only pass things on, and have an
    answer at once whatever a run does.

    Args:
        trainer: verl's, after its `init`.
    """
    parts = {"the queue's controller": ray.get_actor(CONTROLLER, namespace=NAMESPACE)}
    queue = trainer.config.transfer_queue.backend
    if queue.storage_backend == "SimpleStorage":
        for unit in range(queue.SimpleStorage.num_data_storage_units):
            parts[f"storage unit {unit} of the queue"] = ray.get_actor(STORAGE.format(unit))
    for number, manager in enumerate(trainer._rollout_server_managers()):
        parts[f"load balancer {number} of the rollout engines"] = manager.global_load_balancer
    return {name: part for name, part in parts.items() if hasattr(part, "__ray_ready__")}  # a router may be no actor


def working_parts(trainer: PPOTrainer, agent_loop_manager: Any) -> dict[str, ActorHandle]:
    """The same of the agent loops and the reward workers, which may be busy for long.

    Args:
        trainer: verl's, after its `init`.
        agent_loop_manager: What it trains with.
    """
    loops, scorers = agent_loops(agent_loop_manager), trainer.get_reward_handles() or []
    parts = {f"agent loop {number}": worker for number, worker in enumerate(loops)}
    return parts | {f"reward worker {number}": worker for number, worker in enumerate(scorers)}

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


def parts_of(trainer: PPOTrainer, agent_loop_manager: Any) -> dict[str, ActorHandle]:
    """By what they are called in an error: the queue, the load balancers, the agent loops, the reward workers.

    Args:
        trainer: verl's, after its `init`.
        agent_loop_manager: What it trains with.
    """
    parts = {"the queue's controller": ray.get_actor(CONTROLLER, namespace=NAMESPACE)}
    queue = trainer.config.transfer_queue.backend
    if queue.storage_backend == "SimpleStorage":
        for unit in range(queue.SimpleStorage.num_data_storage_units):
            parts[f"storage unit {unit} of the queue"] = ray.get_actor(STORAGE.format(unit))
    for number, manager in enumerate(trainer._rollout_server_managers()):
        parts[f"load balancer {number} of the rollout engines"] = manager.global_load_balancer
    for number, worker in enumerate(agent_loops(agent_loop_manager)):
        parts[f"agent loop {number}"] = worker
    for number, worker in enumerate(trainer.get_reward_handles() or []):
        parts[f"reward worker {number}"] = worker
    return {name: part for name, part in parts.items() if hasattr(part, "__ray_ready__")}  # a router may be no actor

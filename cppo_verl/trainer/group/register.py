"""What verl is told of the sampling by question: the agent loop's name, and the server that can."""

from __future__ import annotations

from omegaconf import DictConfig

from cppo_verl.trainer.group.requests import LOOP, sampled_together


def register_loop() -> None:
    """Make the loop known to verl's agent-loop workers, in a process that has them."""
    from verl.experimental.agent_loop.agent_loop import _agent_loop_registry  # its decorator would need the class here

    _agent_loop_registry[LOOP] = {"_target_": "cppo_verl.trainer.group.loop.QuestionLoop"}


def use_group_servers(config: DictConfig) -> None:
    """Have verl start our servers for `rollout.name=vllm`, where a run may need them; to be called before it starts its
    engines."""
    from verl.workers.rollout.replica import RolloutReplicaRegistry

    if sampled_together(config):
        RolloutReplicaRegistry.register("vllm", _replica_class)


def _replica_class() -> type:
    from cppo_verl.trainer.group.server import GroupReplica  # imports vLLM

    return GroupReplica

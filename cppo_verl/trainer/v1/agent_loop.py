"""The same as `cppo_verl.trainer.v0.agent_loop`, over verl's V1 agent loop, which puts completions into the queue."""

from __future__ import annotations

from typing import Any

import ray
import transfer_queue as tq
from tensordict import TensorDict
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ, AgentLoopWorkerTQ

from cppo_verl.trainer.reported import ReportedApart
from cppo_verl.trainer.reward_limit import LimitedRewards
from cppo_verl.trainer.rollout_seed import SeededTurns, request_seeds
from cppo_verl.trainer.v1.idle import Span
from cppo_verl.trainer.v1.queue import ERROR, TRAIN, VALIDATION

_VERLS_WORKER = AgentLoopWorkerTQ.__ray_metadata__.modified_class.__ray_actor_class__
"""The class in verl's Ray actor."""


class CPPOAgentLoopWorkerTQ(ReportedApart, LimitedRewards, SeededTurns, _VERLS_WORKER):
    """verl's V1 worker; each training request has a seed, as in V0, and what went wrong is noted with the question."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)  # Ray would else send a copy of verl's, whose `super()` is of another class

    def sampling_spans(self) -> list[Span]:
        """When completions were being sampled, since the last call."""
        return self.llm_client.sampling.take()

    async def _run_agent_loop(self, sampling_params: dict[str, Any], trajectory: dict[str, Any], **kwargs):
        seed, is_training = self.config.cppo.rollout_seed, not trajectory["validate"]
        # A completion that goes on under newer weights would start its seed's random numbers again.
        if seed is not None and is_training and self.config.trainer.v1.trainer_mode == "cppo_sync":
            seeds = request_seeds(seed, [f"{kwargs['uid']}:{kwargs['session_id']}"])
            sampling_params = {**sampling_params, "seed": int(seeds[0])}
        try:
            return await super()._run_agent_loop(sampling_params, trajectory, **kwargs)
        except Exception as error:  # whatever it is, it is noted and goes on to verl
            why, partition = f"{type(error).__name__}: {error}", TRAIN if is_training else VALIDATION
            await tq.async_kv_put(key=kwargs["uid"], partition_id=partition, tag={ERROR: why})
            raise


class CPPOAgentLoopManagerTQ(AgentLoopManagerTQ):
    """verl's V1 manager with the worker above."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = ray.remote(CPPOAgentLoopWorkerTQ)

    def generate_sequences(self, prompts: TensorDict) -> None:
        """verl's, which begins with the first worker each time: single questions would all be that one's. The next
        begin with the worker after those that these go to."""
        workers = self.agent_loop_workers
        busy = len(prompts.chunk(len(workers)))
        super().generate_sequences(prompts)
        self.agent_loop_workers = workers[busy:] + workers[:busy]

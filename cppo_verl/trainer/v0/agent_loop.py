"""verl's agent loop, which samples and scores, with a seed for each request, a limit to the wait for rewards,
and what rewards report kept apart from other columns.

Named by `actor_rollout_ref.rollout.agent.agent_loop_manager_class`.
"""

from __future__ import annotations

from typing import Any

import ray
from verl.experimental.agent_loop import AgentLoopManager, AgentLoopWorker

from cppo_verl.trainer.reported import ReportedApart
from cppo_verl.trainer.reward_limit import LimitedRewards
from cppo_verl.trainer.rollout_seed import SEED_KEY, SeededTurns


class CPPOAgentLoopWorker(ReportedApart, LimitedRewards, SeededTurns, AgentLoopWorker):
    """verl's V0 worker; a row's seed, where it has one, goes to the engine as the request's."""

    async def _run_agent_loop(self, sampling_params: dict[str, Any], trajectory: dict[str, Any], **kwargs):
        seed = kwargs.pop(SEED_KEY, None)
        if seed is not None:
            sampling_params = {**sampling_params, "seed": int(seed)}
        return await super()._run_agent_loop(sampling_params, trajectory, **kwargs)


class CPPOAgentLoopManager(AgentLoopManager):
    """verl's V0 manager with the worker above."""

    def __init__(self, *args, **kwargs):
        self.agent_loop_workers_class = ray.remote(CPPOAgentLoopWorker)
        super().__init__(*args, **kwargs)

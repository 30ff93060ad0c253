"""verl's agent loop, which samples and scores, with a seed for each request and a limit to the wait for rewards.

Named by `actor_rollout_ref.rollout.agent.agent_loop_manager_class`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import ray
from verl.experimental.agent_loop import AgentLoopManager, AgentLoopWorker

from cppo_verl.trainer.rollout_seed import SEED_KEY

SHOWN = 300
"""Characters of a completion in an error."""


class RewardHung(RuntimeError):
    """No reward has come back for `cppo.reward_timeout` seconds; the message shows a completion without one."""


class LimitedRewards:
    """A mixin over verl's agent-loop workers. verl waits for a reward for ever; this ends the wait when rewards are
    outstanding and none comes back, however many are queued."""

    last_reward = 0.0
    """When the last reward came back, by `time.monotonic`."""

    async def _compute_score(self, outputs: list, kwargs: dict) -> None:
        """
        Raises:
            RewardHung: See there.
        """
        limit, asked = self.config.cppo.reward_timeout, time.monotonic()
        reward = asyncio.ensure_future(super()._compute_score(outputs, kwargs))
        left = limit
        while left > 0 and not reward.done():
            await asyncio.wait([reward], timeout=left)
            left = max(asked, self.last_reward) + limit - time.monotonic()
        if not reward.done():
            reward.cancel()
            completion = self.tokenizer.decode(outputs[-1].response_ids)
            raise RewardHung(
                f"no reward has come back for {limit:g} s (cppo.reward_timeout); one that is waited for is that of "
                f"{completion[:SHOWN]!r}, of which {max(len(completion) - SHOWN, 0)} more characters are not shown"
            )
        await reward
        self.last_reward = time.monotonic()


class CPPOAgentLoopWorker(LimitedRewards, AgentLoopWorker):
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

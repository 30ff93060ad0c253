"""A limit to the wait for rewards."""

from __future__ import annotations

import asyncio
import time
from typing import Any

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
        await self.within_limit(asyncio.ensure_future(super()._compute_score(outputs, kwargs)), outputs[-1])

    async def within_limit(self, reward: asyncio.Future, output: Any) -> Any:
        """What a reward that is being computed comes to.

        Args:
            reward: Is cancelled where it is given up.
            output: A completion that it is of.

        Raises:
            RewardHung: See there.
        """
        limit, asked = self.config.cppo.reward_timeout, time.monotonic()
        left = limit
        while left > 0 and not reward.done():
            await asyncio.wait([reward], timeout=left)
            left = max(asked, self.last_reward) + limit - time.monotonic()
        if not reward.done():
            reward.cancel()
            completion = self.tokenizer.decode(output.response_ids)
            raise RewardHung(
                f"no reward has come back for {limit:g} s (cppo.reward_timeout); one that is waited for is that of "
                f"{completion[:SHOWN]!r}, of which {max(len(completion) - SHOWN, 0)} more characters are not shown"
            )
        result = await reward
        self.last_reward = time.monotonic()
        return result

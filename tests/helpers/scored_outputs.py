"""Completions of questions as agent loops have them when they are scored, with made-up tokens and given rewards."""

from __future__ import annotations

import math

import numpy as np
from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput

G = 4
MANY = 32
"""Questions that a test may ask for."""


def drawn_rewards(seed: int) -> list[list[float]]:
    """Of the G completions of each question: with many ties, and every third question flat."""
    rng = np.random.default_rng(seed)
    rewards = rng.choice([0.0, 0.3, 0.5, 1.0, 2.0], size=(MANY, G))
    rewards[rng.random(MANY) < 1 / 3] = 1.0
    return rewards.tolist()


def scored_outputs(rewards: list[float]) -> list[AgentLoopOutput]:
    """A question's completions, of lengths that follow from the reward and the sample's number."""
    return [_output(reward, sample) for sample, reward in enumerate(rewards)]


def _output(reward: float, sample: int) -> AgentLoopOutput:
    length = 1 + (sample + int(10 * reward) if math.isfinite(reward) else 0) % 5
    tokens = [7 + sample + place for place in range(length)]
    reported = {"score": reward, "acc": float(reward > 0.5), "format": 1.0}
    return AgentLoopOutput(
        prompt_ids=[5, 6, 7],
        response_ids=tokens,
        response_mask=[1] * length,
        response_logprobs=[-token / 9 for token in tokens],
        reward_score=reward,
        num_turns=2,
        multi_modal_data={},
        metrics=AgentLoopMetrics(generate_sequences=float(length), compute_score=0.5),
        extra_fields={"reward_extra_info": reported, "min_global_steps": 1, "max_global_steps": 1, "turn_scores": []},
    )

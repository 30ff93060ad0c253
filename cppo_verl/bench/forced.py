"""Completions of forced length and rewards by chance, so that a benchmark needs neither a trained model nor data.

Named by a benchmark's config (`cppo_verl.bench.study`): the agent loop as `forced_length`, the reward by its file.
"""

from __future__ import annotations

import math
from collections import Counter
from statistics import NormalDist
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput

from cppo_verl.trainer.group.loop import QuestionLoop
from cppo_verl.trainer.rollout_seed import hashed

ASKED: Counter[str] = Counter()
"""Completions of each question that this process was asked for: verl names a question's samples on V1 only."""
MEDIAN, SIGMA = 0.2, 0.42
"""Of the log-normal lengths: the median as a share of the longest. Of 1,024 tokens, nine in ten are 100 to 410."""


class ForcedLengthLoop(QuestionLoop):
    """Our loop, in which a question's G completions end at lengths that are drawn for them, the same in each run.

    As their lengths differ, they are asked for together but not as one request: the engine and its server have as many
    as with verl's own loop.
    """

    async def run(self, sampling_params: dict[str, Any], **kwargs) -> AgentLoopOutput:
        question = str(kwargs["index"])
        sample = ASKED[question] % self.rollout_config.n
        ASKED[question] += 1
        return await super().run(sampling_params | self._forced(question, sample), **kwargs)

    def requests(self, sampling_params: list[dict[str, Any]], **question) -> list[dict[str, Any]]:
        """As `QuestionLoop`'s, with the lengths."""
        name = str(question["index"])
        return [params | self._forced(name, sample) for sample, params in enumerate(sampling_params)]

    def _forced(self, question: str, sample: int) -> dict[str, Any]:
        length = drawn_length(f"{question}:{sample}", self.response_length)
        return {"min_tokens": length, "max_tokens": length, "ignore_eos": True}


def drawn_length(name: str, longest: int) -> int:
    """The length of a completion in tokens, 1 to `longest`: log-normal, the same for the same name."""
    length = MEDIAN * longest * math.exp(SIGMA * NormalDist().inv_cdf(drawn(name)))
    return max(1, min(longest, round(length)))


def drawn(name: str) -> float:
    """A number between 0 and 1 by chance, neither of them, the same for the same name."""
    return (hashed(0, name) + 0.5) / 2**32


def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: dict | None = None) -> dict:
    """A reward of the form of GSM8K's (2 for the answer, 1 for the format) by chance.

    Each question has a chance of its own, so that some groups have all rewards equal, as in training.
    """
    chance = drawn(f"chance:{ground_truth}")
    answer, layout = (drawn(f"{what}:{ground_truth}:{solution_str}") < chance for what in ("answer", "format"))
    return {"score": 2.0 * answer + layout, "acc": float(answer), "format": float(layout)}

"""What is known of completions that travel without their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput

from cppo_verl.trainer.rows import row_id
from cppo_verl.trainer.stages import SPECULATED

SCORED = "scored"
"""Under which is told what is known of completions that were pruned where they were sampled."""
ONE_TURN = 2
"""What verl counts as the turns of a question and its answer."""


@dataclass(frozen=True)
class ScoredGroup:
    """A question's completions, scored: each list has an entry per completion, in their order."""

    uid: str
    prompt_tokens: list[int]
    response_tokens: list[int]
    """All are the model's own, as in questions of one turn."""
    rewards: list[float]
    reported: list[dict[str, Any]]
    """What the reward function reported besides, and what a speculating engine did."""

    @classmethod
    def of(cls, uid: str, outputs: Sequence[AgentLoopOutput]) -> ScoredGroup:
        """From what a worker sampled and scored."""
        fields = [output.extra_fields for output in outputs]
        return cls(
            uid=uid,
            prompt_tokens=[len(output.prompt_ids) for output in outputs],
            response_tokens=[len(output.response_ids) for output in outputs],
            rewards=[float(output.reward_score) for output in outputs],
            reported=[of["reward_extra_info"] | {name: of[name] for name in SPECULATED if name in of} for of in fields],
        )

    def told(self) -> dict[str, Any]:
        """Plain values, from which `ScoredGroup(**told)` makes it again."""
        return asdict(self)


def scored_rows(groups: Sequence[ScoredGroup], prompt_width: int, response_width: int) -> DataProto:
    """Completions as verl's trainers have them, but without tokens, and with what was reported of each.

    Args:
        groups: The questions, in order.
        prompt_width: Longest prompt, tokens.
        response_width: Longest response, tokens.

    Returns:
        The columns of `rewarded_rows`, and one for each name that was reported.
    """
    rows = rewarded_rows(groups, prompt_width, response_width)
    reported = [of_one for group in groups for of_one in group.reported]
    columns = {name: np.array([of_one[name] for of_one in reported], dtype=object) for name in reported[0]}
    rows.non_tensor_batch = columns | rows.non_tensor_batch
    return rows


def rewarded_rows(groups: Sequence[ScoredGroup], prompt_width: int, response_width: int) -> DataProto:
    """What an advantage is made of: masks, rewards, `uid` and `row_id` of each completion."""
    prompts = torch.tensor([tokens for group in groups for tokens in group.prompt_tokens])
    responses = torch.tensor([tokens for group in groups for tokens in group.response_tokens])
    mask = filled(responses, response_width)
    scores = torch.zeros(mask.shape)
    last = (responses - 1).clamp(min=0)
    scores[torch.arange(len(mask)), last] = torch.tensor([reward for group in groups for reward in group.rewards])
    samples = [(group.uid, sample) for group in groups for sample in range(len(group.rewards))]
    names = {
        "uid": np.array([uid for uid, _ in samples], dtype=object),
        "row_id": np.array([row_id(uid, sample) for uid, sample in samples], dtype=object),
    }
    return DataProto(rows_without_tokens(prompts, responses, prompt_width, mask, scores), names)


def rows_without_tokens(
    prompt_tokens: torch.Tensor,
    response_tokens: torch.Tensor,
    prompt_width: int,
    response_mask: torch.Tensor,
    scores: torch.Tensor,
) -> TensorDict:
    """The tensors that a trainer reads of sampled rows; `prompts` and `responses` are zeros that take no room.

    Args:
        prompt_tokens: Of each completion, `(num_rows,)`.
        response_tokens: The same; of several turns with the tools' tokens.
        prompt_width: Longest prompt, tokens.
        response_mask: The model's own tokens, `(num_rows, response_width)`.
        scores: Of each token, `(num_rows, response_width)`.
    """
    size, response_width = scores.shape
    attention = filled(prompt_tokens, prompt_width).flip(1), filled(response_tokens, response_width)
    tensors = {
        "prompts": torch.zeros(1, dtype=torch.long).expand(size, prompt_width),
        "responses": torch.zeros(1, dtype=torch.long).expand(size, response_width),
        "attention_mask": torch.cat(attention, dim=1),
        "response_mask": response_mask,
        "token_level_scores": scores,
        "token_level_rewards": scores,
    }
    return TensorDict(tensors, batch_size=size)


def filled(lengths: torch.Tensor, width: int) -> torch.Tensor:
    """Masks `(num_rows, width)` of the first `lengths` places."""
    return (torch.arange(width) < lengths[:, None]).long()

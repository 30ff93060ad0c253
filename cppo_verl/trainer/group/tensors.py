"""A question's completions as tensors, made at once instead of one by one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import TensorDict
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, _InternalAgentLoopOutput
from verl.utils.model import compute_position_id_with_mask


def padded_rows(
    outputs: Sequence[AgentLoopOutput], prompt_width: int, response_width: int, pad_token: int
) -> list[_InternalAgentLoopOutput]:
    """Completions as verl's V0 agent loop pads them: prompts on the left, responses on the right.

    Args:
        outputs: Completions of text, scored; none longer than the widths.
        prompt_width: In tokens.
        response_width: In tokens.
        pad_token: In the places without a token.

    Returns:
        Each with tensors `(1, width)`.
    """
    size = len(outputs)
    prompts = torch.full((size, prompt_width), pad_token)
    responses = torch.full((size, response_width), pad_token)
    attention = torch.zeros(size, prompt_width + response_width, dtype=torch.long)
    mask = torch.zeros(size, response_width, dtype=torch.long)
    log_probs = torch.zeros(size, response_width) if outputs[0].response_logprobs is not None else None
    for row, output in enumerate(outputs):
        start, end = prompt_width - len(output.prompt_ids), len(output.response_ids)
        prompts[row, start:] = torch.tensor(output.prompt_ids, dtype=torch.long)
        responses[row, :end] = torch.tensor(output.response_ids, dtype=torch.long)
        mask[row, :end] = torch.tensor(output.response_mask, dtype=torch.long)
        attention[row, start : prompt_width + end] = 1
        if log_probs is not None:
            log_probs[row, :end] = torch.tensor(output.response_logprobs or [])
    ids, positions = torch.cat([prompts, responses], dim=1), compute_position_id_with_mask(attention)
    return [
        _InternalAgentLoopOutput(
            prompt_ids=prompts[row : row + 1],
            response_ids=responses[row : row + 1],
            input_ids=ids[row : row + 1],
            position_ids=positions[row : row + 1],
            response_mask=mask[row : row + 1],
            attention_mask=attention[row : row + 1],
            response_logprobs=None if log_probs is None else log_probs[row : row + 1],
            multi_modal_inputs={},
            multi_modal_data=output.multi_modal_data,
            mm_processor_kwargs=output.mm_processor_kwargs,
            reward_score=output.reward_score,
            num_turns=output.num_turns,
            metrics=output.metrics,
            extra_fields=output.extra_fields,
        )
        for row, output in enumerate(outputs)
    ]


def rows_to_score(outputs: Sequence[AgentLoopOutput]) -> TensorDict:
    """Completions of one prompt as verl's reward managers read them: nothing before the prompt, zeros after the end."""
    width = max(len(output.response_ids) for output in outputs)
    prompts = torch.tensor([output.prompt_ids for output in outputs], dtype=torch.long)
    responses = torch.zeros(len(outputs), width, dtype=torch.long)
    attention = torch.zeros(len(outputs), prompts.shape[1] + width, dtype=torch.long)
    for row, output in enumerate(outputs):
        responses[row, : len(output.response_ids)] = torch.tensor(output.response_ids, dtype=torch.long)
        attention[row, : prompts.shape[1] + len(output.response_ids)] = 1
    return TensorDict(
        {
            "prompts": prompts,
            "responses": responses,
            "attention_mask": attention,
            "input_ids": torch.cat([prompts, responses], dim=1),
            "position_ids": compute_position_id_with_mask(attention),
        },
        batch_size=len(outputs),
    )

"""The requests of questions to verl's rollout engines, through verl's clients of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from verl.workers.rollout.llm_server import FullyAsyncLLMServerClient, LLMServerClient
from verl.workers.rollout.replica import TokenOutput

PAUSE = 1.0
"""Seconds until an aborted completion is asked for again: verl's."""


async def generate_group(
    client: LLMServerClient, prompt_ids: list[int], sampling_params: Sequence[dict[str, Any]], priority: int = 0
) -> list[TokenOutput]:
    """Sample completions of one prompt; with verl's client of the asynchronous trainers to their end, over aborts.

    Args:
        client: verl's, one of those that subclass it.
        prompt_ids: The prompt.
        sampling_params: Of each completion.
        priority: Of all, for the engine's scheduler.
    """
    goes_on = isinstance(client, FullyAsyncLLMServerClient)
    request_id, number = uuid4().hex, len(sampling_params)
    asked = {"prompt_ids": prompt_ids, "sampling_params": sampling_params[0], "completions": number}
    server_id, server = await client._acquire_server(request_id, **asked)
    try:
        outputs = await server.generate_group.remote(
            prompt_ids, list(sampling_params), request_id, priority=priority, is_abortable=goes_on
        )
    finally:
        client._release_server(server_id, request_id=request_id)
    for output in outputs:
        steps = output.extra_fields.get("global_steps")
        output.extra_fields |= {"min_global_steps": steps, "max_global_steps": steps}
    if not goes_on:
        return outputs
    each = zip(sampling_params, outputs, strict=True)
    return await asyncio.gather(*(_to_its_end(client, prompt_ids, *one, priority) for one in each))


async def _to_its_end(
    client: FullyAsyncLLMServerClient,
    prompt_ids: list[int],
    sampling_params: dict[str, Any],
    part: TokenOutput,
    priority: int,
) -> TokenOutput:
    """A completion, which goes on where it was aborted."""
    if part.stop_reason != "aborted":
        return part
    longest = sampling_params.get("max_tokens", client.config.actor_rollout_ref.rollout.response_length)
    if (left := longest - len(part.token_ids)) <= 0:
        return part.model_copy(update={"stop_reason": "length"})
    await asyncio.sleep(PAUSE)
    prompt, params = prompt_ids + part.token_ids, sampling_params | {"max_tokens": left}
    rest = await client.generate(uuid4().hex, prompt_ids=prompt, sampling_params=params, priority=priority)
    steps = part.extra_fields["min_global_steps"] if part.token_ids else rest.extra_fields["min_global_steps"]
    return TokenOutput(
        token_ids=part.token_ids + rest.token_ids,
        log_probs=(part.log_probs or []) + (rest.log_probs or []) or None,
        stop_reason=rest.stop_reason,
        num_preempted=(part.num_preempted or 0) + (rest.num_preempted or 0),
        extra_fields=rest.extra_fields | {"min_global_steps": steps},
    )

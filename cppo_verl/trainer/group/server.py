"""verl's vLLM server, which samples a question's completions by one request.

verl 0.9.1's answers a request with its first sample alone. What is between a request and the engine (LoRA, room for
tokens, pauses for new weights) stays verl's: its own `generate` is called once, and the other samples are noted on
their way through it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextvars import ContextVar
from typing import Any

import ray
import wrapt
from verl.workers.rollout.replica import TokenOutput
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer, vLLMReplica
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.sampling_params import RequestOutputKind

from cppo_verl.trainer.group.requests import as_one

_samples: ContextVar[dict[int, CompletionOutput]] = ContextVar("samples")
"""Of the request whose task this is: the latest of each sample."""


class GroupServer(vLLMHttpServer):
    """verl's server, with `generate_group`."""

    async def run_server(self, *args, **kwargs) -> None:
        await super().run_server(*args, **kwargs)
        self.engine = NotedEngine(self.engine)

    async def generate_group(
        self,
        prompt_ids: list[int],
        sampling_params: Sequence[dict[str, Any]],
        request_id: str,
        priority: int = 0,
        is_abortable: bool = False,
    ) -> list[TokenOutput]:
        """Sample completions of one prompt.

        Args:
            prompt_ids: The prompt.
            sampling_params: Of each completion, as verl's `generate` takes them.
            request_id: Of all.
            priority: Of all.
            is_abortable: Whether new weights may end it before its end (the asynchronous trainers): the engine then
                answers token by token, because verl waits for each request's first token before it aborts.

        Returns:
            A completion each, in their order; of an aborted one what there is.
        """
        one = as_one(sampling_params)
        if one is None:
            requests = (
                self.generate(prompt_ids, dict(params), f"{request_id}_{sample}", priority=priority)
                for sample, params in enumerate(sampling_params)
            )
            return await asyncio.gather(*requests)
        one["detokenize"] = "stop" in one
        one["output_kind"] = RequestOutputKind.CUMULATIVE if is_abortable else RequestOutputKind.FINAL_ONLY
        samples: dict[int, CompletionOutput] = {}
        _samples.set(samples)  # Ray runs each call in a task, and so a context, of its own
        output = await self.generate(prompt_ids, one, request_id, priority=priority)
        return [token_output(output, samples.get(sample)) for sample in range(len(sampling_params))]


class NotedEngine(wrapt.ObjectProxy):
    """vLLM's engine, which notes the samples of the request whose task calls it."""

    def generate(self, *args, **kwargs) -> AsyncIterator[RequestOutput]:
        """As vLLM's."""
        stream, samples = self.__wrapped__.generate(*args, **kwargs), _samples.get(None)
        return stream if samples is None else _noted(stream, samples)


async def _noted(stream: AsyncIterator[RequestOutput], samples: dict[int, CompletionOutput]):
    async for output in stream:
        samples |= {sample.index: sample for sample in output.outputs}
        yield output


def token_output(of_request: TokenOutput, sample: CompletionOutput | None) -> TokenOutput:
    """A sample as verl's server would answer it.

    Args:
        of_request: verl's answer to the request that it is of.
        sample: What the engine says of it; None where it had no token when the request was aborted.
    """
    fields = dict(of_request.extra_fields)
    if sample is None:
        return TokenOutput(token_ids=[], log_probs=None, stop_reason="aborted", extra_fields=fields)
    tokens, log_probs = list(sample.token_ids), None
    if sample.logprobs is not None:
        log_probs = [of_token[token].logprob for of_token, token in zip(sample.logprobs, tokens, strict=True)]
    reasons = {"abort": "aborted", "stop": "completed", "length": "completed"}
    return TokenOutput(
        token_ids=tokens,
        log_probs=log_probs,
        stop_reason=reasons.get(sample.finish_reason, sample.finish_reason),
        num_preempted=getattr(sample, "num_preempted", None),
        extra_fields=fields,
    )


class GroupReplica(vLLMReplica):
    """verl's replica with the server above."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.server_class = ray.remote(GroupServer)

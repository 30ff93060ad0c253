"""Completions from vLLM, one by one as they finish."""

from __future__ import annotations

import atexit
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cppo_verl.evaluation.benchmarks import Protocol, Question


@dataclass(frozen=True)
class Request:
    """One sample of one question."""

    question: Question
    sample: int
    """From 0."""
    protocol: Protocol

    @property
    def key(self) -> str:
        """Names the request, in this run and in one that goes on with it."""
        return f"{self.question.benchmark}/{self.question.index}/{self.sample}"

    def seed(self, seed: int) -> int:
        """A seed of its own: what is sampled does not depend on what else is, nor on the order."""
        return int.from_bytes(hashlib.sha256(f"{seed}/{self.key}".encode()).digest()[:4], "big")


@dataclass(frozen=True)
class Completion:
    """What the model answered."""

    request: Request
    text: str
    num_tokens: int
    truncated: bool
    """It was cut at `max_tokens`."""
    opening: str = ""
    """What the chat template has written of the model's turn (`data.templates.Prompts.opening`)."""


class Generator:
    """A vLLM engine on one model.

    Args:
        model: Folder or hub id.
        prompts: Token ids of each request's prompt, by the request's key: the longest sets the context length.
        max_tokens: Longest completion.
        engine: Further `vllm.EngineArgs`.
        opening: See `Completion`.
    """

    def __init__(
        self,
        model: str,
        prompts: Mapping[str, list[int]],
        max_tokens: int,
        engine: Mapping[str, Any],
        opening: str = "",
    ):
        from vllm import EngineArgs, LLMEngine

        atexit.register(_say_no_more)
        self.prompts, self.max_tokens, self.opening = prompts, max_tokens, opening
        longest = max(map(len, prompts.values()))
        args = EngineArgs(model=model, max_model_len=longest + max_tokens, **engine)
        if not args.enable_chunked_prefill:  # a prompt must then fit a batch
            args.max_num_batched_tokens = max(args.max_num_batched_tokens or 0, args.max_model_len)
        self.engine = LLMEngine.from_engine_args(args)

    def generate(self, requests: Sequence[Request], seed: int) -> Iterator[Completion]:
        """Sample all requests at once; yields each when it is finished."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        waiting = {request.key: request for request in requests}
        for key, request in waiting.items():
            params = SamplingParams(
                temperature=request.protocol.temperature,
                top_p=request.protocol.top_p,
                max_tokens=self.max_tokens,
                seed=request.seed(seed),
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            self.engine.add_request(key, {"prompt_token_ids": self.prompts[key]}, params)
        while self.engine.has_unfinished_requests():
            for output in self.engine.step():
                if output.finished:
                    (answer,) = output.outputs
                    yield Completion(
                        request=waiting.pop(output.request_id),
                        text=answer.text,
                        num_tokens=len(answer.token_ids),
                        truncated=answer.finish_reason == "length",
                        opening=self.opening,
                    )


def _say_no_more() -> None:
    """Silence what Triton's bindings print about their own leaks at the end of a process that used vLLM."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

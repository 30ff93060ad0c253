"""One request to vLLM, through verl's own server code, and a completion for each of its samples."""

from __future__ import annotations

import asyncio
import importlib.metadata
from types import SimpleNamespace

import pytest

from cppo_verl.cpu.vllm_plugin import answer_for_vllm
from cppo_verl.trainer.group.requests import of_samples

with pytest.MonkeyPatch.context() as while_imported:
    while_imported.setattr(importlib.metadata, "version", importlib.metadata.version)  # put back at the end
    answer_for_vllm()
    from vllm.logprobs import Logprob
    from vllm.outputs import CompletionOutput, RequestOutput
    from vllm.sampling_params import RequestOutputKind

    from cppo_verl.trainer.group.server import GroupServer, NotedEngine

PARAMS = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0, "logprobs": True}


def sample(index: int, tokens: list[int], reason: str | None) -> CompletionOutput:
    log_probs = [{token: Logprob(-token / 10)} for token in tokens]
    return CompletionOutput(
        index, text="", token_ids=tokens, cumulative_logprob=None, logprobs=log_probs, finish_reason=reason
    )


class Engine:
    """Stands for vLLM's: answers with these outputs, each of some samples, and notes what it was asked."""

    def __init__(self, *outputs: list[CompletionOutput]):
        self.outputs, self.asked = outputs, []

    async def generate(self, prompt, sampling_params, request_id, **given):
        self.asked.append(sampling_params)
        for samples in self.outputs:
            done = samples is self.outputs[-1]
            yield RequestOutput(request_id, None, [1, 2], None, samples, finished=done, num_cached_tokens=1)


def server(engine: Engine) -> GroupServer:
    """verl's server, as much of it as a request passes through."""
    made = object.__new__(GroupServer)
    made.config = SimpleNamespace(
        max_model_len=64,
        response_length=16,
        prompt_length=16,
        full_determinism=False,
        enable_rollout_routing_replay=False,
        mtp=None,
        get=lambda name, default: default,
    )
    made.model_config = SimpleNamespace(processor=None, lora={}, lora_rank=0)
    made.engine, made.replica_rank, made.global_steps, made._admitting = NotedEngine(engine), 0, 4, 1
    made._disaggregation_role, made._pd_decode_peers = None, []

    async def admitted(_):
        return None

    made._park_until_admitted = admitted
    return made


@pytest.fixture(autouse=True)
def without_lora(monkeypatch):
    monkeypatch.setattr(GroupServer, "lora_as_adapter", False)


def ask(engine: Engine, number: int, **given):
    return asyncio.run(server(engine).generate_group([1, 2], of_samples(PARAMS, number, 5), "request", **given))


def test_each_sample_of_the_request_is_a_completion():
    engine = Engine([sample(0, [7], "stop"), sample(1, [8, 9], "length"), sample(2, [], "stop")])
    outputs = ask(engine, 3)
    assert [output.token_ids for output in outputs] == [[7], [8, 9], []]
    assert outputs[1].log_probs == [-0.8, -0.9]
    assert {output.stop_reason for output in outputs} == {"completed"}
    assert all(output.extra_fields == {"global_steps": 4, "num_cached_tokens": 1} for output in outputs)
    (asked,) = engine.asked
    assert (asked.n, asked.seed, asked.max_tokens, asked.detokenize) == (3, 5, 16, False)
    assert asked.output_kind is RequestOutputKind.FINAL_ONLY


def test_of_an_aborted_request_there_is_what_each_sample_had():
    """vLLM then answers token by token, sample by sample: the first is done, the second not, of the third is none."""
    engine = Engine(
        [sample(0, [7], None)], [sample(1, [8], None)], [sample(0, [7, 6], "stop")], [sample(1, [8, 9], "abort")]
    )
    outputs = ask(engine, 3, is_abortable=True)
    assert [(output.token_ids, output.stop_reason) for output in outputs] == [
        ([7, 6], "completed"),
        ([8, 9], "aborted"),
        ([], "aborted"),
    ]
    assert engine.asked[0].output_kind is RequestOutputKind.CUMULATIVE


def test_a_request_that_is_refused_gives_nothing():
    engine = Engine([])
    outputs = ask(engine, 2)
    assert [(output.token_ids, output.stop_reason) for output in outputs] == [([], "aborted")] * 2


def test_completions_that_cannot_be_one_request_are_several():
    engine = Engine([sample(0, [7], "stop")])
    requests = [PARAMS | {"max_tokens": length} for length in (3, 9)]
    outputs = asyncio.run(server(engine).generate_group([1, 2], requests, "request"))
    assert [asked.max_tokens for asked in engine.asked] == [3, 9] and [one.n for one in engine.asked] == [1, 1]
    assert [output.token_ids for output in outputs] == [[7], [7]]


def test_questions_at_the_same_time_do_not_mix():
    """Each call is a task of its own, as Ray runs them."""
    engine, other = Engine([sample(0, [7], "stop"), sample(1, [8], "stop")]), None
    made = server(engine)

    async def both():
        calls = (made.generate_group([1, 2], of_samples(PARAMS, 2, seed), "request") for seed in (1, 2))
        return await asyncio.gather(*map(asyncio.create_task, calls))

    one, other = asyncio.run(both())
    assert [output.token_ids for output in one] == [output.token_ids for output in other] == [[7], [8]]


def test_the_engine_is_otherwise_vllms():
    engine = NotedEngine(SimpleNamespace(sleep=lambda level: f"asleep {level}"))
    assert engine.sleep(2) == "asleep 2"

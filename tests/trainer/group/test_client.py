"""A question's request through verl's clients: one place, and to its end over aborts."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from verl.workers.rollout.llm_server import FullyAsyncLLMServerClient, LLMServerClient
from verl.workers.rollout.replica import TokenOutput

from cppo_verl.trainer.group import client
from cppo_verl.trainer.group.requests import of_samples

LONGEST = 10


class Server:
    """Stands for ours: aborts some completions of a group once, and goes on with what it is asked again."""

    def __init__(self, parts: list[TokenOutput]):
        self.parts, self.again, self.steps = parts, [], 2
        self.generate = SimpleNamespace(remote=self._generate)
        self.generate_group = SimpleNamespace(remote=self._generate_group)

    async def _generate_group(self, prompt_ids, sampling_params, request_id, priority, is_abortable):
        self.is_abortable = is_abortable
        return self.parts

    async def _generate(self, prompt_ids, sampling_params, **_):
        self.again.append((prompt_ids, sampling_params["max_tokens"]))
        return TokenOutput(
            token_ids=[99], log_probs=[-9.0], stop_reason="completed", num_preempted=1, extra_fields={"global_steps": 3}
        )


def part(tokens: list[int], reason: str) -> TokenOutput:
    log_probs = [float(-token) for token in tokens]
    return TokenOutput(token_ids=tokens, log_probs=log_probs, stop_reason=reason, extra_fields={"global_steps": 2})


def ask(kind: type[LLMServerClient], server: Server) -> list[TokenOutput]:
    answer = lambda value: SimpleNamespace(remote=lambda **_: asyncio.sleep(0, value))  # noqa: E731
    released = []
    balancer = SimpleNamespace(
        require_acquire_fields=answer([]),
        require_release_fields=answer([]),
        acquire_server=answer(("server", server)),
        release_server=SimpleNamespace(remote=lambda **_: released.append(1)),
    )
    rollout = SimpleNamespace(response_length=LONGEST, name="vllm", full_determinism=False)
    config = SimpleNamespace(actor_rollout_ref=SimpleNamespace(rollout=rollout))
    requests = of_samples({"temperature": 1.0}, len(server.parts), None)
    outputs = asyncio.run(client.generate_group(kind(config, balancer), [1, 2], requests))
    assert len(released) == 1 + len(server.again)
    return outputs


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(client, "PAUSE", 0.0)


def test_what_was_aborted_goes_on_by_itself():
    server = Server([part([5, 6], "completed"), part([7], "aborted"), part([], "aborted")])
    outputs = ask(FullyAsyncLLMServerClient, server)
    assert server.is_abortable
    assert [output.token_ids for output in outputs] == [[5, 6], [7, 99], [99]]
    assert [output.log_probs for output in outputs] == [[-5.0, -6.0], [-7.0, -9.0], [-9.0]]
    assert sorted(server.again) == [([1, 2], LONGEST), ([1, 2, 7], LONGEST - 1)]
    spans = [(o.extra_fields["min_global_steps"], o.extra_fields["max_global_steps"]) for o in outputs]
    assert spans == [(2, 2), (2, 3), (3, 3)]
    assert outputs[1].num_preempted == 1


def test_what_was_aborted_at_its_last_token_is_whole():
    server = Server([part(list(range(LONGEST)), "aborted")])
    (output,) = ask(FullyAsyncLLMServerClient, server)
    assert len(output.token_ids) == LONGEST and output.stop_reason == "length" and not server.again


def test_the_synchronous_client_takes_what_it_is_given():
    server = Server([part([5], "completed"), part([6], "aborted")])
    outputs = ask(LLMServerClient, server)
    assert not server.is_abortable and [output.token_ids for output in outputs] == [[5], [6]]

"""How many requests are at the engines at a time, and which agent loop is asked."""

from __future__ import annotations

import asyncio
import pickle
from types import SimpleNamespace
from uuid import uuid4

import pytest
import torch
from tensordict import TensorDict

from cppo_verl.preflight.asynchronous import places_each
from cppo_verl.trainer.v1 import agent_loop
from cppo_verl.trainer.v1.agent_loop import CPPOAgentLoopManagerTQ
from cppo_verl.trainer.v1.clients import MeteredAsyncClient, MeteredClient
from cppo_verl.trainer.v1.trainers import CPPOColocateAsync, CPPOSync


class Balancer:
    """Stands for verl's load balancer: counts the requests that are at an engine."""

    def __init__(self, refuses: bool = False):
        self.running, self.most, self.refuses = 0, 0, refuses
        answer = lambda value: SimpleNamespace(remote=lambda: asyncio.sleep(0, value))  # noqa: E731
        self.require_acquire_fields = self.require_release_fields = answer([])
        self.acquire_server = SimpleNamespace(remote=self._acquire)
        self.release_server = SimpleNamespace(remote=self._release)

    async def _acquire(self, **_):
        if self.refuses:
            raise RuntimeError("no server")
        self.running += 1
        self.most = max(self.most, self.running)
        return "server", None

    def _release(self, **_) -> None:
        self.running -= 1


async def request(client, **asked) -> None:
    request_id = uuid4().hex
    server, _ = await client._acquire_server(request_id, **asked)
    await asyncio.sleep(0.001)
    client._release_server(server, request_id=request_id)


async def requests(client, number: int) -> None:
    await asyncio.gather(*(request(client) for _ in range(number)))


def test_no_more_requests_than_places_are_at_the_engines():
    balancer = Balancer()
    asyncio.run(requests(MeteredAsyncClient(config=None, load_balancer_handle=balancer, places=3), 20))
    assert balancer.most == 3 and balancer.running == 0


@pytest.mark.parametrize(("places", "together"), [(8, 2), (9, 2), (3, 1)])
def test_a_question_takes_the_places_of_its_completions(places, together):
    """Of four completions each; in three places it waits for all of them."""
    balancer = Balancer()
    client = MeteredAsyncClient(config=None, load_balancer_handle=balancer, places=places)

    async def questions():
        await asyncio.gather(*(request(client, completions=4) for _ in range(5)), request(client))

    asyncio.run(questions())
    assert balancer.most in (together, together + (places > 4 * together)) and balancer.running == 0


def test_the_synchronous_client_has_no_bound():
    balancer = Balancer()
    asyncio.run(requests(MeteredClient(config=None, load_balancer_handle=balancer), 20))
    assert balancer.most == 20


def test_a_place_is_not_lost_where_no_server_is_there():
    balancer = Balancer(refuses=True)

    async def twice():
        client = MeteredAsyncClient(config=None, load_balancer_handle=balancer, places=1)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="no server"):
                await request(client)
        balancer.refuses = False
        await request(client)

    asyncio.run(twice())
    assert balancer.most == 1


def test_a_client_travels_to_its_process():
    client = pickle.loads(pickle.dumps(MeteredAsyncClient(config=None, places=2)))
    client._load_balancer = balancer = Balancer()
    asyncio.run(requests(client, 5))
    assert balancer.most == 2


@pytest.mark.parametrize(("places", "engines", "workers", "each"), [(1024, 1, 8, 128), (256, 4, 8, 128), (2, 1, 8, 1)])
def test_the_places_of_all_engines_are_shared(config, places, engines, workers, each):
    rollout = config(
        "recipe=toy",
        f"actor_rollout_ref.rollout.max_num_seqs={places}",
        f"actor_rollout_ref.rollout.agent.num_workers={workers}",
    ).actor_rollout_ref.rollout
    assert places_each(rollout, engines) == each


@pytest.mark.parametrize(("kind", "given"), [(CPPOSync, {}), (CPPOColocateAsync, {"places": 1024})])
def test_the_asynchronous_trainers_bound_their_client(config, kind, given, monkeypatch):
    asked = {}
    engines = SimpleNamespace(
        get_replicas=lambda: [None], get_client=lambda client_cls, **options: asked.update(options)
    )
    trainer = object.__new__(kind)
    trainer.trainer_mode = {CPPOSync: "cppo_sync", CPPOColocateAsync: "cppo_colocate_async"}[kind]
    one = "actor_rollout_ref.rollout.agent.num_workers=1", "actor_rollout_ref.rollout.max_num_seqs=1024"
    trainer.config = config("recipe=toy", *one)
    monkeypatch.setattr(kind, "_rollout_server_managers", lambda _: [engines])
    trainer.get_llm_client()
    assert asked == given


def test_single_questions_go_to_one_agent_loop_after_the_other(monkeypatch):
    monkeypatch.setattr("verl.trainer.ppo.v1.agent_loop_tq.ray.get", lambda calls: calls)
    manager, asked = object.__new__(CPPOAgentLoopManagerTQ), []

    def worker(number: int) -> SimpleNamespace:
        remote = lambda chunk: asked.extend((number, q) for q in chunk["q"].tolist())  # noqa: E731
        return SimpleNamespace(generate_sequences=SimpleNamespace(remote=remote))

    manager.agent_loop_workers = [worker(number) for number in range(3)]
    numbers = iter(range(100))
    for count in (1, 1, 1, 1, 2, 3):
        q = torch.tensor([next(numbers) for _ in range(count)])
        manager.generate_sequences(TensorDict({"q": q}, batch_size=count))
    assert [number for number, _ in asked] == [0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert [q for _, q in asked] == list(range(9)), "each question once"
    assert agent_loop.AgentLoopManagerTQ.generate_sequences is not CPPOAgentLoopManagerTQ.generate_sequences

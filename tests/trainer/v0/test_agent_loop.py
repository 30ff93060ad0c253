"""The wait for rewards ends when none comes back, and only then."""

import asyncio
from types import SimpleNamespace

import pytest
from verl.experimental.agent_loop import AgentLoopWorker

from cppo_verl.trainer.reward_limit import RewardHung
from cppo_verl.trainer.v0.agent_loop import CPPOAgentLoopWorker

LIMIT = 0.2


@pytest.fixture
def worker(monkeypatch):
    """A worker whose completions are scored after as many seconds as they say; verl's own would need Ray."""

    async def compute_score(self, outputs, kwargs):
        await asyncio.sleep(outputs[-1].response_ids[0])

    monkeypatch.setattr(AgentLoopWorker, "_compute_score", compute_score)
    worker = object.__new__(CPPOAgentLoopWorker)
    worker.config = SimpleNamespace(cppo=SimpleNamespace(reward_timeout=LIMIT))
    worker.tokenizer = SimpleNamespace(decode=lambda ids: f"waits {ids[0]} s" + "." * 400)
    return worker


def score(worker, *seconds: float) -> None:
    async def all_of_them():
        outputs = [[SimpleNamespace(response_ids=[wait])] for wait in seconds]
        await asyncio.gather(*(worker._compute_score(output, {}) for output in outputs))

    asyncio.run(all_of_them())


def test_a_reward_that_never_comes_ends_the_run_and_shows_its_completion(worker):
    with pytest.raises(RewardHung, match=r"for 0\.2 s \(cppo.reward_timeout\).*'waits 1000 s\.+', of which 112 more"):
        score(worker, 0.01, 1000)


def test_a_long_queue_is_no_hang(worker):
    """Each is waited for longer than the limit, but one comes back all the time."""
    score(worker, *(LIMIT / 3 * number for number in range(1, 10)))


def test_what_the_reward_function_raises_is_raised(worker, monkeypatch):
    async def fails(self, outputs, kwargs):
        raise KeyError("answer")

    monkeypatch.setattr(AgentLoopWorker, "_compute_score", fails)
    with pytest.raises(KeyError, match="answer"):
        score(worker, 0)

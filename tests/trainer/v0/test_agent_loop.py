"""The agent loop: the wait for rewards ends when none comes back, and only then; a turn has a seed of its own."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from verl.experimental.agent_loop import AgentLoopWorker

from cppo_verl.trainer.reported import kept_apart
from cppo_verl.trainer.reward_limit import RewardHung
from cppo_verl.trainer.rollout_seed import SEED_KEY
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
    worker.opening = ""  # of the model's turn, by the template
    worker.tokenizer = SimpleNamespace(decode=lambda ids: f"waits {ids[0]} s" + "." * 400)
    return worker


def score(worker, *seconds: float) -> None:
    async def all_of_them():
        outputs = [[SimpleNamespace(response_ids=[wait], extra_fields={})] for wait in seconds]
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


def test_what_a_reward_reports_hides_no_column_of_the_data_or_of_verl(worker, monkeypatch):
    async def reports(self, outputs, kwargs):
        reported = {"score": 1.0, "acc": True, "uid": 7, "level": 3, "outcome": [1, [2]], "difficulty": None}
        outputs[-1].extra_fields["reward_extra_info"] = reported

    monkeypatch.setattr(AgentLoopWorker, "_compute_score", reports)
    output = SimpleNamespace(response_ids=[0], extra_fields={})
    asyncio.run(worker._compute_score([output], {"level": "5", "data_source": "mine"}))
    apart = {"reward/uid": 7, "reward/level": 3, "outcome": "[1, [2]]"}
    assert output.extra_fields["reward_extra_info"] == {"score": 1.0, "acc": True, "difficulty": None, **apart}


def test_a_column_of_the_data_may_not_have_the_name_of_what_is_counted():
    with pytest.raises(ValueError, match="the data have a column acc, and the reward function reports acc"):
        kept_apart({"score": 1.0, "acc": 1.0}, {"acc", "level"})


def test_what_holds_one_number_is_that_number():
    assert kept_apart({"acc": torch.tensor(1.0), "format": np.float32(0), "words": np.array(["a", "b"])}) == {
        "acc": 1.0,
        "format": 0.0,
        "words": "['a' 'b']",
    }


class Engines:
    """verl's client, which notes the seeds that it is asked with."""

    tokenizer = "a tokenizer"

    def __init__(self):
        self.seeds: list[list[int | None]] = []

    async def generate(self, request_id, *, sampling_params, prompt_ids):
        await asyncio.sleep(0)
        self.seeds[request_id].append(sampling_params.get("seed"))


def seeds_by_turn(monkeypatch, seeds: list[int | None], turns: int = 3) -> list[list[int | None]]:
    """What the engines are asked with, completion by completion, all of them sampled at the same time."""

    async def of_several_turns(self, sampling_params, trajectory, **kwargs):
        for _ in range(turns):
            await self.llm_client.generate(trajectory, sampling_params=sampling_params, prompt_ids=[1])

    def start(self, client):
        self.llm_client = client

    monkeypatch.setattr(AgentLoopWorker, "__init__", start)
    monkeypatch.setattr(AgentLoopWorker, "_run_agent_loop", of_several_turns)
    engines = Engines()
    engines.seeds = [[] for _ in seeds]
    worker = CPPOAgentLoopWorker(engines)
    assert worker.llm_client.tokenizer == "a tokenizer"

    async def all_of_them():
        params = {"temperature": 1.0}
        await asyncio.gather(*(worker._run_agent_loop(params, i, **{SEED_KEY: seed}) for i, seed in enumerate(seeds)))

    asyncio.run(all_of_them())
    return engines.seeds


def test_each_turn_of_a_completion_has_a_seed_of_its_own(monkeypatch):
    found = seeds_by_turn(monkeypatch, [5, 6])
    assert [of[0] for of in found] == [5, 6], "the first turn's is the completion's: one of one turn samples as before"
    assert len({seed for of in found for seed in of}) == 6
    assert seeds_by_turn(monkeypatch, [5, 6]) == found, "the same in each run"
    assert seeds_by_turn(monkeypatch, [None]) == [[None] * 3]

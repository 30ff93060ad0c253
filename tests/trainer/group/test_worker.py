"""Questions that are sampled and scored together give what verl's own loop gives, completion by completion."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import numpy as np
import pytest
import torch
from agent_loops import Engine, Scorer, batch, client_of, question, small_config
from stand_in_queue import StandInQueue, plain

from cppo_verl.algorithm.rule import PruningRule
from cppo_verl.trainer.group.loop import QuestionLoop
from cppo_verl.trainer.group.requests import LOOP, ONE_BY_ONE
from cppo_verl.trainer.group.scored import SCORED
from cppo_verl.trainer.rollout_seed import SEED_KEY, question_seeds
from cppo_verl.trainer.v0.agent_loop import CPPOAgentLoopWorker
from cppo_verl.trainer.v1.agent_loop import CPPOAgentLoopWorkerTQ
from cppo_verl.trainer.v1.putting import columns_read
from cppo_verl.trainer.v1.queue import BYTES, RULE

N = 4
OURS, VERLS = LOOP, ONE_BY_ONE


@pytest.fixture(scope="module")
def made(compose_config, tmp_path_factory):
    """Makes a worker of a kind, with its engine and scorer, for an agent loop."""
    folder = tmp_path_factory.mktemp("group")

    def make(kind: type, loop: str, *overrides: str):
        chosen = f"actor_rollout_ref.rollout.agent.default_agent_loop={loop}", f"actor_rollout_ref.rollout.n={N}"
        config = small_config(compose_config, folder, *chosen, *overrides)
        engine, scorer = Engine(), Scorer(config)
        return kind(config, client_of(engine), None, [scorer]), engine, scorer

    return make


def v0_rows(made, loop: str):
    """Of three questions, with the worker's engine and scorer."""

    async def ask():  # verl's workers belong to the event loop in which they are made
        worker, *stands_in = made(CPPOAgentLoopWorker, loop)
        asked = batch([question(0), question(1, "A much longer question: how many are left of them?"), question(2)])
        asked.non_tensor_batch["priority"] = N * np.arange(3)
        asked.non_tensor_batch[SEED_KEY] = question_seeds(7, asked.non_tensor_batch["uid"])
        return await worker.generate_questions(asked, N), *stands_in

    return asyncio.run(ask())


def test_v0_rows_are_those_of_verls_loop(made):
    ours, engine, scorer = v0_rows(made, OURS)
    verls, verls_engine, verls_scorer = v0_rows(made, VERLS)
    assert (engine.groups, verls_engine.groups) == ([N] * 3, [])
    assert (scorer.given, verls_scorer.given) == ([N] * 3, [1] * 3 * N)
    assert sorted(map(str, engine.requests)) == sorted(map(str, verls_engine.requests))
    assert set(ours.batch.keys()) == set(verls.batch.keys())
    for name, column in verls.batch.items():
        assert column.dtype == ours.batch[name].dtype and torch.equal(column, ours.batch[name]), name
    assert (ours.batch["response_mask"].sum(dim=1) == 12).any(), "one was cut at the longest response"
    assert ours.non_tensor_batch.keys() == verls.non_tensor_batch.keys()
    for name, column in verls.non_tensor_batch.items():
        assert column.tolist() == ours.non_tensor_batch[name].tolist(), name
    assert ours.meta_info["reward_extra_keys"] == verls.meta_info["reward_extra_keys"]
    assert [one.keys() for one in ours.meta_info["metrics"]] == [one.keys() for one in verls.meta_info["metrics"]]


def test_what_the_server_cannot_is_asked_one_by_one(made):
    """`test_requests` has all of it."""
    worker, *_ = made(CPPOAgentLoopWorker, OURS, "actor_rollout_ref.rollout.full_determinism=true")
    assert not worker.goes_together((), N)


def test_a_loop_that_gives_another_number_of_completions_is_an_error(made, monkeypatch):
    whole = QuestionLoop.run_question

    async def all_but_one(*args, **kwargs):
        return (await whole(*args, **kwargs))[1:]

    monkeypatch.setattr(QuestionLoop, "run_question", all_but_one)
    with pytest.raises(ValueError, match=rf"the agent loop {OURS} gave {N - 1} completions for a question, not {N}"):
        v0_rows(made, OURS)


def test_only_questions_of_several_completions_by_the_runs_loop_go_together(made):
    worker, *_ = made(CPPOAgentLoopWorker, OURS)
    assert worker.goes_together((), N) and worker.goes_together([OURS, OURS], N)
    assert not worker.goes_together((), 1)
    assert not worker.goes_together([OURS, "tool_agent"], N)


def v1_rows(made, monkeypatch, loop: str, fails=None, rule: PruningRule | None = None) -> StandInQueue:
    queue = StandInQueue(monkeypatch)

    async def ask():
        worker, engine, _ = made(CPPOAgentLoopWorkerTQ, loop, "trainer.use_v1=true", "cppo.rollout_seed=7")
        if fails:
            engine.generate_group.remote = fails
        asked = {**question(3), "global_steps": 1, "agent_name": loop} | ({RULE: rule} if rule else {})
        await worker._run_prompt(asked, worker.sampling_params(), {"validate": False, **TRAJECTORY})

    asyncio.run(ask())
    return queue


TRAJECTORY = {"step": 1, "sample_index": 3, "rollout_n": 0}


def test_v1_puts_the_rows_of_verls_loop_at_once(made, monkeypatch):
    ours, verls = v1_rows(made, monkeypatch, OURS), v1_rows(made, monkeypatch, VERLS)
    assert (len(ours.puts), len(verls.puts)) == (1, N)
    assert ours.tags["1:3"] == verls.tags["1:3"] == {"status": "finished"}
    assert ours.rows.keys() == verls.rows.keys()
    for key, fields in verls.rows.items():
        found, tag = ours.rows[key], dict(ours.tags[key])
        assert tag.pop(BYTES) == sum(value.nbytes for value in fields.values() if isinstance(value, torch.Tensor))
        assert tag == verls.tags[key]
        assert found.keys() == fields.keys() & columns_read(is_pruned=False), "but for what nothing reads"
        for name, value in found.items():
            assert same(plain(value), plain(fields[name])), (name, value, fields[name])


def same(one, other) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_v1_puts_what_is_kept_of_the_same_rows(made, monkeypatch):
    """Which they are is shown over whole steps, in `test_pruned_there`."""
    everything = v1_rows(made, monkeypatch, OURS)
    pruned = v1_rows(made, monkeypatch, OURS, rule=PruningRule(N // 2))
    assert len(pruned.puts) == 1 and len(pruned.rows) == N // 2
    for key, fields in pruned.rows.items():
        assert pruned.tags[key] == everything.tags[key]
        assert all(same(plain(everything.rows[key][name]), plain(value)) for name, value in fields.items())
    told = pruned.tags["1:3"].pop(SCORED)
    assert pruned.tags["1:3"] == {
        "status": "finished",
        RULE: asdict(PruningRule(N // 2)) | {"n": N, "adv_estimator": "grpo"},
    }
    keys = [f"1:3_{sample}_0" for sample in range(N)]
    assert told["response_tokens"] == [everything.tags[key]["response_len"] for key in keys]
    assert told["rewards"] == [everything.rows[key]["rm_scores"].sum().item() for key in keys]


def test_v1_puts_all_of_what_was_asked_one_by_one(made, monkeypatch):
    """And the rule, which is no column, does not get into the queue."""
    rows = v1_rows(made, monkeypatch, VERLS, rule=PruningRule(N // 2)).rows
    assert len(rows) == N and all(RULE not in fields for fields in rows.values())


def test_v1_notes_why_a_question_failed(made, monkeypatch):
    async def fails(*_, **__):
        raise ValueError("no room")

    queue = v1_rows(made, monkeypatch, OURS, fails)
    assert queue.tags == {"1:3": {"status": "failure", "error": "ValueError: no room"}} and not queue.rows

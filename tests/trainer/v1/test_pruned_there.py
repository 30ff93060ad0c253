"""Questions that are pruned where they are sampled: what is trained on and what is logged is as if all completions had
been sent, and only what is kept is put into the queue."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
import torch
import transfer_queue as tq
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scored_outputs import MANY, G, drawn_rewards, scored_outputs
from stand_in_queue import StandInQueue

from cppo_verl.algorithm.allocation import Allocation
from cppo_verl.algorithm.options import CPPOConfig, Metric
from cppo_verl.preflight.plan import plan_from_config
from cppo_verl.trainer.rows import check_sent
from cppo_verl.trainer.sampling import sampling_metrics
from cppo_verl.trainer.stages import data_metrics
from cppo_verl.trainer.v1.agent_loop import CPPOAgentLoopWorkerTQ
from cppo_verl.trainer.v1.cycle import RunningStep
from cppo_verl.trainer.v1.queue import TRAIN
from cppo_verl.trainer.v1.trainers import CPPOSync

OVERRIDES = (
    *("recipe=toy", "device=cpu", "trainer.use_v1=true", "data.train_batch_size=4", f"actor_rollout_ref.rollout.n={G}"),
    *("actor_rollout_ref.actor.ppo_mini_batch_size=2", "trainer.v1.sampler.sampler_kwargs.poll_interval=0"),
    *("trainer.balance_batch=false", "cppo.max_gen_rounds=2"),
)


class Sampler:
    """Stands for the agent loops: our worker's ending of a question, over completions of given rewards.

    Args:
        config: The run's.
        rewards: Of question 0, 1, ... as they are asked.
        sends_all: Whether all completions are put into the queue; else what the config says.
        order: Seed of the order in which the questions of a call are finished.
    """

    def __init__(self, config, rewards: list[list[float]], sends_all: bool, order: int = 0):
        self.worker = object.__new__(CPPOAgentLoopWorkerTQ)
        self.worker.config = config
        if sends_all:
            vars(self.worker)["rule"] = None
        self.rewards, self.asked, self.random = rewards, 0, random.Random(order)

    def generate_sequences(self, batch) -> None:
        uids = list(batch["uid"])
        finished = list(zip(uids, self.rewards[self.asked : self.asked + len(uids)], strict=True))
        self.asked += len(uids)
        self.random.shuffle(finished)
        for uid, rewards in finished:
            question = {"uid": uid, "global_steps": 1, "raw_prompt": "?"}
            said = asyncio.run(self.worker._put(question, scored_outputs(rewards)))
            tq.kv_put(key=uid, partition_id=TRAIN, tag={"status": "finished"} | said)


class Step(NamedTuple):
    """A step's sampling, and what is trained on."""

    sampled: Any
    allocation: Allocation
    trained: dict[str, dict[str, Any]]
    """By row id, what the queue holds of it."""
    metrics: dict[str, float]
    queue: StandInQueue
    asked: int


def step(config, rewards: list[list[float]], sends_all: bool, order: int = 0) -> Step:
    """A V1 step up to its forwards."""
    trainer, metrics = object.__new__(CPPOSync), {}
    trainer.config, trainer.cppo = config, CPPOConfig.from_mapping(config.cppo)
    trainer.plan = trainer.cycle_plan = plan_from_config(config)
    trainer.trainer_mode, trainer.global_steps, trainer.total_training_steps = "cppo_sync", 1, 10
    question = {"raw_prompt": np.array(["?"], dtype=object), "index": torch.zeros(1)}
    trainer.train_dataloader = SimpleNamespace(draw=lambda count: [dict(question) for _ in range(count)])
    trainer.agent_loop_manager = sampler = Sampler(config, rewards, sends_all, order)
    trainer.replay_buffer, trainer.this_step = trainer._build_replay_buffer(), RunningStep({})
    with pytest.MonkeyPatch.context() as patch:
        queue = StandInQueue(patch)
        trainer.prepare_step()
        sampled, allocation = trainer._sample_and_prune(metrics)
        batch = trainer._gather(sampled, allocation, metrics)
    trained = trainer.this_step.cycles[-1].trained
    metrics = sampling_metrics(sampled, allocation, rounds=1) | data_metrics(sampled, trained, None)
    rows = dict(zip(trained.non_tensor_batch["row_id"], (queue.rows[key] for key in batch.keys), strict=True))
    return Step(sampled, allocation, rows, metrics, queue, sampler.asked)


@pytest.fixture(scope="module")
def config(compose_config):
    """The config of V1 runs."""
    return cache(lambda *overrides: compose_config(*OVERRIDES, *overrides))


def options() -> Iterator[list[str]]:
    for metric in get_args(Metric):
        for rate, zero_variance in (("0.5", "keep"), ("0.75", "drop")):
            yield [f"cppo.metric={metric}", f"cppo.pruning_rate={rate}", f"cppo.zero_variance={zero_variance}"]
    yield ["cppo.pruning_rate=0", "cppo.zero_variance=drop"]
    for estimator in ("rloo", "opo", "grpo_vectorized"):
        yield ["cppo.pruning_rate=0.5", f"algorithm.adv_estimator={estimator}"]


@pytest.mark.parametrize("chosen", list(options()), ids=" ".join)
@given(seed=st.integers(0, 999), order=st.integers(0, 9))
@settings(max_examples=3, phases=(Phase.explicit, Phase.generate))
def test_the_same_is_trained_on_and_logged(config, chosen, seed, order):
    c, rewards = config(*chosen), drawn_rewards(seed)
    there, before = step(c, rewards, False, order), step(c, rewards, True, order)
    assert there.asked == before.asked
    assert there.trained.keys() == before.trained.keys()
    for name, row in before.trained.items():
        assert there.trained[name].keys() == row.keys()
        assert all(same(value, there.trained[name][column]) for column, value in row.items()), name
    assert there.allocation.surplus == before.allocation.surplus
    by_name = dict(zip(before.sampled.non_tensor_batch["row_id"], range(len(before.sampled)), strict=True))
    places = [by_name[name] for name in there.sampled.non_tensor_batch["row_id"]]
    for column, tensor in before.sampled.batch.items():
        assert torch.equal(there.sampled.batch[column], tensor[places]), column
    sent, all_sent = (of.metrics.pop("cppo/bytes_sent") for of in (there, before))
    assert sent <= all_sent
    assert there.metrics == pytest.approx(before.metrics, abs=1e-6, nan_ok=True)  # sums in another order
    assert set(there.queue.rows) == set(before.queue.rows), "what is trained on is all that stays in the queue"


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return getattr(one, "data", one) == getattr(other, "data", other)


def test_only_what_is_kept_is_put_once_for_each_question(config):
    found = step(config("cppo.pruning_rate=0.75"), [[0.0, 1.0, 0.0, 1.0]] * MANY, sends_all=False)
    assert [len(keys) for keys in found.queue.puts[: found.asked]] == [1] * found.asked
    assert found.metrics["cppo/completions_sampled"] == G * found.asked
    before = step(config("cppo.pruning_rate=0.75"), [[0.0, 1.0, 0.0, 1.0]] * MANY, sends_all=True)
    assert found.metrics["cppo/bytes_sent"] == pytest.approx(before.metrics["cppo/bytes_sent"] / G, rel=0.35)


def test_of_a_dropped_question_nothing_is_put(config):
    found = step(config("cppo.pruning_rate=0.5", "cppo.zero_variance=drop"), [[1.0] * G] * MANY, sends_all=False)
    assert not found.queue.puts and not found.queue.rows and not len(found.allocation.rows)
    assert found.metrics["cppo/bytes_sent"] == 0 and found.metrics["cppo/sampled/reward"] == 1.0


def test_a_reward_that_is_not_finite_ends_the_run_as_before(config):
    for sends_all in (True, False):
        with pytest.raises(ValueError, match="advantages are not finite"):
            step(config("cppo.pruning_rate=0.5"), [[0.0, float("nan"), 0.0, 1.0]] * MANY, sends_all)


def test_a_row_that_was_not_sent_is_not_trained_on(config):
    rows = SimpleNamespace(non_tensor_batch={"row_id": ["1:0:0", "1:0:3"]})
    check_sent(rows, ["a", "b"])
    with pytest.raises(RuntimeError, match="completion 1:0:3 is to be trained on, and was pruned"):
        check_sent(rows, ["a", None])

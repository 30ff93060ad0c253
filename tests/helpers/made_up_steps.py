"""The first half of a step on either generation of trainers, over completions of given rewards: no engine, no Ray."""

from __future__ import annotations

import asyncio
import pickle
import random
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transfer_queue as tq
from omegaconf import DictConfig
from scored_outputs import scored_outputs
from stand_in_queue import StandInQueue
from verl import DataProto

from cppo_verl.algorithm.allocation import Allocation
from cppo_verl.algorithm.metrics import Outcomes
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.preflight.plan import plan_from_config
from cppo_verl.trainer.sampling import sampling_metrics
from cppo_verl.trainer.stages import data_metrics
from cppo_verl.trainer.v0 import sampling as v0_sampling
from cppo_verl.trainer.v0.agent_loop import CPPOAgentLoopManager, CPPOAgentLoopWorker
from cppo_verl.trainer.v0.step import CPPOStep
from cppo_verl.trainer.v1 import asking
from cppo_verl.trainer.v1.agent_loop import CPPOAgentLoopManagerTQ, CPPOAgentLoopWorkerTQ
from cppo_verl.trainer.v1.cycle import RunningStep
from cppo_verl.trainer.v1.queue import RULE, TRAIN
from cppo_verl.trainer.v1.trainers import CPPOSync

Rewards = list[list[float]]
"""Of question 0, 1, ... as they are asked."""


class MadeUpStep(NamedTuple):
    """What a step sampled and trains on."""

    sampled: DataProto
    allocation: Allocation
    trained: dict[str, dict[str, Any]]
    """By row id: the columns that workers are sent."""
    metrics: dict[str, float]
    asked: int
    """Questions."""
    queue: StandInQueue | None = None
    """On V1: as the step leaves it to the forwards."""


def _prepared(trainer, config: DictConfig):
    trainer.config, trainer.cppo, trainer.plan = config, CPPOConfig.from_mapping(config.cppo), plan_from_config(config)
    trainer.global_steps, trainer.outcomes, trainer.timing_raw = 1, Outcomes(), {}
    trainer.train_dataset = None
    return trainer


def _question() -> dict[str, Any]:
    return {"raw_prompt": np.array(["?"], dtype=object), "index": torch.zeros(1)}


class V1Loops(CPPOAgentLoopManagerTQ):
    """Stands for V1's agent loops: our worker's ending of a question; those of a call are finished in any order."""

    def __init__(self, config: DictConfig, rewards: Rewards, order: int):
        self.worker = object.__new__(CPPOAgentLoopWorkerTQ)
        self.worker.config, self.worker.rollout_config = config, config.actor_rollout_ref.rollout
        self.rewards, self.asked, self.random = rewards, 0, random.Random(order)

    def generate_sequences(self, batch) -> None:
        batch = pickle.loads(pickle.dumps(batch.chunk(1)[0]))  # as verl and Ray hand it on
        rule = dict(batch.items())[RULE].data if RULE in batch else None
        uids = list(batch["uid"])
        finished = list(zip(uids, self.rewards[self.asked : self.asked + len(uids)], strict=True))
        self.asked += len(uids)
        self.random.shuffle(finished)
        for uid, rewards in finished:
            question = {"uid": uid, "global_steps": 1, "raw_prompt": "?"}
            said = asyncio.run(self.worker._put(question, scored_outputs(rewards), rule))
            tq.kv_put(key=uid, partition_id=TRAIN, tag={"status": "finished"} | said)


def v1_step(config: DictConfig, rewards: Rewards, sends_all: bool, order: int = 0) -> MadeUpStep:
    """On V1.

    Args:
        config: The run's.
        rewards: As they are made up.
        sends_all: Whether agent loops send all completions; else what the config says.
        order: Seed of the order in which questions are finished.
    """
    trainer, metrics = _prepared(object.__new__(CPPOSync), config), {}
    trainer.cycle_plan, trainer.trainer_mode, trainer.total_training_steps = trainer.plan, "cppo_sync", 10
    trainer.train_dataloader = SimpleNamespace(
        draw=lambda count: [_question() for _ in range(count)], prefetch=lambda: None
    )
    trainer.agent_loop_manager = loops = V1Loops(config, rewards, order)
    trainer.replay_buffer, trainer.this_step = trainer._build_replay_buffer(), RunningStep({})
    with pytest.MonkeyPatch.context() as patch:
        queue = StandInQueue(patch)
        if sends_all:
            patch.setattr(asking, "rule_where_sampled", lambda *_: None)
        trainer.prepare_step()
        sampled, allocation = trainer._sample_and_prune(metrics)
        batch = trainer._gather(sampled, allocation, metrics)
    trained = trainer.this_step.cycles[-1].trained
    rows = dict(zip(trained.non_tensor_batch["row_id"], (queue.rows[key] for key in batch.keys), strict=True))
    metrics = sampling_metrics(sampled, allocation, rounds=1) | data_metrics(sampled, trained, None)
    return MadeUpStep(sampled, allocation, rows, metrics, loops.asked, queue)


def v0_worker(config: DictConfig, rewards: Rewards) -> SimpleNamespace:
    """Stands for the actor of one of V0's agent loops: our worker, which need not sample."""
    worker = object.__new__(CPPOAgentLoopWorker)
    worker.config, worker.rollout_config = config, config.actor_rollout_ref.rollout
    worker.tokenizer, worker.reward_loop_worker_handles = SimpleNamespace(pad_token_id=0), ["one"]

    async def answer(question, params, n, seed):
        return scored_outputs(rewards[int(question["uid"].split(":")[1])])

    worker.answer, worker.goes_together = answer, lambda *_: True
    return SimpleNamespace(generate_questions=SimpleNamespace(remote=worker.generate_questions))


def v0_step(config: DictConfig, rewards: Rewards, sends_all: bool, loops: int = 3) -> MadeUpStep:
    """On V0, with so many agent loops; else as `v1_step`."""
    trainer = _prepared(object.__new__(CPPOStep), config)
    trainer.metrics, trainer.curr_step_profile = {}, False
    trainer.use_rm = trainer.use_critic = False
    trainer.checkpoint_manager = SimpleNamespace(sleep_replicas=lambda: None)
    trainer.async_rollout_manager = manager = object.__new__(CPPOAgentLoopManager)
    manager.rollout_config = config.actor_rollout_ref.rollout
    manager.agent_loop_workers = [v0_worker(config, rewards) for _ in range(loops)]
    questions = SimpleNamespace(peek=lambda count: [_question() for _ in range(count)], take=lambda count: None)
    with pytest.MonkeyPatch.context() as patch:
        if sends_all:
            patch.setattr(v0_sampling, "rule_where_sampled", lambda *_: None)
        sampled, allocation = trainer._sample_and_prune(questions)
    batch = trainer._gather(sampled, allocation)
    columns = set(batch.batch.keys()) - {"index", "rm_scores"}
    rows = {name: {c: batch.batch[c][i] for c in columns} for i, name in enumerate(batch.non_tensor_batch["row_id"])}
    times = {name: value for name, value in trainer.timing_raw.items() if name.startswith("agent_loop/")}
    metrics = trainer.metrics | data_metrics(sampled, batch, None) | times
    return MadeUpStep(sampled, allocation, rows, metrics, len(sampled) // trainer.plan.rollout_n)

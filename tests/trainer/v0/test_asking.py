"""How V0's trainer asks for a step's completions: by the question from our agent loops, in rows from any others."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from verl import DataProto

from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.rule import PruningRule
from cppo_verl.preflight.plan import plan_from_config
from cppo_verl.trainer.rollout_seed import SEED_KEY
from cppo_verl.trainer.v0.agent_loop import CPPOAgentLoopManager
from cppo_verl.trainer.v0.sampling import PrunedSampling

N = 4


def questions(number: int) -> DataProto:
    uids = np.array([f"1:{position}" for position in range(number)], dtype=object)
    columns = {"uid": uids, SEED_KEY: 100 * np.arange(number, dtype=np.int64)}
    return DataProto(batch=None, non_tensor_batch=columns)


def answered(uids: list[str]) -> DataProto:
    """A completion for each, as a worker gives them."""
    rows = {"prompts": torch.zeros(len(uids), 2), "attention_mask": torch.ones(len(uids), 6, dtype=torch.long)}
    told = [{"generate_sequences": 1.0, "tool_calls": 0.0, "compute_score": 1.0, "num_preempted": -1} for _ in uids]
    batch = DataProto.from_dict(rows, non_tensors={"uid": np.array(uids, dtype=object)})
    batch.meta_info = {"metrics": told, "reward_extra_keys": ["acc"]}
    return batch


class Worker:
    """Stands for an agent loop's actor; it notes which questions it is given."""

    def __init__(self):
        self.given: list[str] = []
        self.generate_questions = SimpleNamespace(remote=self._answer)

    async def _answer(self, part: DataProto, n: int, rule: PruningRule | None) -> DataProto:
        self.rule = rule
        self.given = part.non_tensor_batch["uid"].tolist()
        assert part.non_tensor_batch["priority"].tolist() == [n * int(uid[2:]) for uid in self.given]
        return answered([uid for uid in self.given for _ in range(n)])


@pytest.mark.parametrize(("number", "shares"), [(8, [3, 2, 3]), (3, [1, 1, 1]), (2, [1, 1, 0]), (1, [1, 0, 0])])
def test_questions_are_shared_out_whole_and_come_back_in_order(number, shares):
    manager = object.__new__(CPPOAgentLoopManager)
    manager.agent_loop_workers = [Worker() for _ in shares]
    rows = manager.generate_questions(questions(number), N)
    assert [len(worker.given) for worker in manager.agent_loop_workers] == shares
    assert rows.non_tensor_batch["uid"].tolist() == [f"1:{q}" for q in range(number) for _ in range(N)]
    assert rows.meta_info["reward_extra_keys"] == ["acc"]
    assert rows.meta_info["timing"]["agent_loop/generate_sequences/mean"] == 1.0


def trainer(manager: object, compose_config) -> PrunedSampling:
    made = object.__new__(PrunedSampling)
    made.train_dataset = None
    made.async_rollout_manager = manager
    made.config = compose_config("recipe=toy", f"actor_rollout_ref.rollout.n={N}", "cppo.pruning_rate=0.5")
    made.cppo, made.plan = CPPOConfig.from_mapping(made.config.cppo), plan_from_config(made.config)
    return made


def test_our_agent_loops_are_asked_by_the_question(compose_config):
    manager, asked = object.__new__(CPPOAgentLoopManager), []
    manager.generate_questions = lambda batch, n, rule: asked.append((len(batch), n, rule))
    trainer(manager, compose_config)._generate(questions(3), N)
    assert asked == [(3, N, PruningRule(N // 2))]


def test_to_a_data_set_that_reads_batches_all_are_sent(compose_config):
    manager, asked = object.__new__(CPPOAgentLoopManager), []
    manager.generate_questions = lambda batch, n, rule: asked.append(rule)
    made = trainer(manager, compose_config)
    made.train_dataset = SimpleNamespace(on_batch_end=print)
    made._generate(questions(3), N)
    assert asked == [None]


def test_where_questions_name_their_loops_none_is_pruned_there():
    """Some may be of a loop that asks one by one."""
    manager, asked = object.__new__(CPPOAgentLoopManager), questions(2)
    manager.agent_loop_workers, rule = [Worker()], PruningRule(2)
    manager.generate_questions(asked, N, rule)
    assert manager.agent_loop_workers[0].rule == rule
    asked.non_tensor_batch["agent_name"] = np.array(["question", "tool_agent"], dtype=object)
    manager.generate_questions(asked, N, rule)
    assert manager.agent_loop_workers[0].rule is None


def test_other_managers_are_given_rows_that_their_workers_can_share(compose_config):
    """Five workers: three questions of four are padded to fifteen rows, and the padding is taken off again."""
    asked = []

    def generate_sequences(rows: DataProto) -> DataProto:
        asked.append(rows)
        return answered(rows.non_tensor_batch["uid"].tolist())

    manager = SimpleNamespace(agent_loop_workers=[None] * 5, generate_sequences=generate_sequences)
    rows = trainer(manager, compose_config)._generate(questions(3), N)
    assert len(asked[0]) == 15 and len(rows) == 12
    seeds = asked[0].non_tensor_batch[SEED_KEY][:12].tolist()
    assert seeds == [100 * question + sample for question in range(3) for sample in range(N)]

"""What a step of several cycles logs is of all of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from transfer_queue import KVBatchMeta
from verl import DataProto

from cppo_verl.algorithm.allocation import Allocation
from cppo_verl.algorithm.metrics import Outcomes
from cppo_verl.algorithm.planning import plan_step
from cppo_verl.trainer.v1.cycle import Cycle
from cppo_verl.trainer.v1.trainers import CPPOSeparateAsync

CYCLES, G = 16, 2
CLIPPED = [cycle / 100 for cycle in range(CYCLES)]
"""Share of clipped tokens in the update of each cycle."""
EPOCHS = 2
REJECTED: set[int] = set()
"""Numbers of the cycles, from 1, that update nothing."""


def sampled(question: str) -> DataProto:
    """A question's completions, of which all are trained on."""
    ones = torch.ones(G, 3, dtype=torch.long)
    scores = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    names = ("prompts", "responses", "response_mask")
    scored = ("token_level_scores", "token_level_rewards", "advantages", "returns")
    tensors = dict.fromkeys(names, ones) | dict.fromkeys(scored, scores) | {"attention_mask": torch.ones(G, 6)}
    return DataProto.from_dict(tensors, non_tensors={"uid": np.array([question] * G, dtype=object)})


@pytest.fixture
def trainer(monkeypatch) -> CPPOSeparateAsync:
    """A trainer whose cycles each make an update of a question."""
    monkeypatch.setattr("cppo_verl.trainer.v1.step.update_settings", lambda *_: {})
    made = object.__new__(CPPOSeparateAsync)
    made.progress = SimpleNamespace(tell=lambda *_, **__: None)
    actor = {"ppo_epochs": EPOCHS, "optim": {"clip_grad": 1.0}}
    made.config = OmegaConf.create({"data": {"train_batch_size": CYCLES}, "actor_rollout_ref": {"actor": actor}})
    made.parameter_sync_step, made.global_steps, made.total_training_steps = CYCLES, 3, 4
    made.plan, made.train_dataset = plan_step(0, G, CYCLES, 1), range(2 * CYCLES)
    made.replay_buffer = SimpleNamespace(outstanding=lambda: (0, 0))
    made.train_dataloader, made.outcomes = SimpleNamespace(epoch=5), Outcomes()
    made.prepare_step, made._columns, made._count = dict, lambda *_: [], lambda *_: None
    clipped = iter(CLIPPED)

    def update(batch) -> dict:
        return {"metrics": {"grad_norm": [0.5], "pg_clipfrac": [next(clipped)], "mfu": 0.5}}

    def cycle(metrics: dict, timing: dict, questions: int) -> KVBatchMeta:
        rows, number = sampled(f"3:{len(made.this_step.cycles)}"), torch.arange(G)
        allocation = Allocation(number, G, 0, torch.ones(G, dtype=torch.double))
        made.this_step.cycles.append(Cycle(rows, rows, allocation, 0, counts={"cppo/updates": 0}))
        if len(made.this_step.cycles) in REJECTED:
            return KVBatchMeta(partition_id="train", keys=[], tags=[])
        key = f"{rows.non_tensor_batch['uid'][0]}_0_0"
        return made._update_actor(KVBatchMeta(partition_id="train", keys=[key], tags=[{}]), metrics)

    made._get_n_gpus_for_throughput = lambda: 1
    made.actor_rollout_wg, made._step_once = SimpleNamespace(update_actor=update), cycle
    return made


@pytest.fixture
def metrics(trainer) -> dict[str, float]:
    """What its step logs."""
    found: dict[str, float] = {}
    trainer.step(found, {})
    return found


def test_clipping_is_that_of_the_steps_updates_in_order(metrics):
    """Not of each cycle's so far, over which verl would take a mean."""
    places = [metrics[f"cppo/pg_clipfrac/{place}"] for place in range(1, 9)]
    assert places == pytest.approx(np.reshape(CLIPPED, (8, 2)).mean(axis=1).tolist())
    assert metrics["cppo/questions"] == CYCLES


def test_updates_are_counted_cycle_by_cycle(trainer, monkeypatch):
    monkeypatch.setattr(f"{__name__}.REJECTED", {2, 7})
    found: dict[str, float] = {}
    trainer.step(found, {})
    assert found["cppo/updates"] == (CYCLES - 2) * EPOCHS


def test_what_a_checkpoint_notes_of_its_step_has_times(trainer, metrics):
    """A kill may come before its line is logged, and the report passes over a step without them."""
    assert trainer.metrics is metrics
    assert metrics["timing_s/step"] > 0
    assert metrics["perf/throughput"] == pytest.approx(metrics["cppo/tokens_sampled"] / metrics["timing_s/step"])


def test_the_epoch_is_that_of_the_data(metrics):
    """verl counts steps, of which dropped and failed questions make one take more than planned."""
    assert metrics["training/epoch"] == 5

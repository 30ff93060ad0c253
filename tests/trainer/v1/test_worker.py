"""Weights that a worker puts aside for the old log-probs of further cycles, and takes back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.distributed.fsdp import fully_shard
from verl.trainer.ppo.v1.trainer_base import PPOTrainer

from cppo_verl.trainer.v1.trainers import CPPOSeparateAsync
from cppo_verl.trainer.v1.worker import KeepingWorker


@pytest.mark.parametrize("strategy", ["fsdp2", "fsdp"])
def test_what_is_put_aside_is_not_changed_by_updates(strategy, mesh):
    """Three cycles as verl makes them: each computes its old log-probs with the first weights, and none is undone."""
    module = torch.nn.Linear(3, 2)
    torch.nn.init.zeros_(module.weight)  # whole numbers: nothing is rounded
    if strategy == "fsdp2":
        fully_shard(module, mesh=mesh)
    worker = object.__new__(KeepingWorker)
    worker.config = SimpleNamespace(actor=SimpleNamespace(strategy=strategy))
    worker._strategy_handlers, worker.actor = None, SimpleNamespace(engine=SimpleNamespace(module=module))
    first = whole(module)
    worker.save_model_to_cpu(0)
    for cycle in range(3):
        if cycle:
            worker.save_model_to_cpu(cycle)
            worker.restore_model_from_cpu(0)
            assert torch.equal(whole(module), first), "the old policy's"
            worker.restore_model_from_cpu(cycle)
            worker.clear_cpu_model(cycle)
        with torch.no_grad():
            module.weight.add_(1)  # an update
        assert torch.equal(whole(module), first + cycle + 1)


def whole(module: torch.nn.Linear) -> torch.Tensor:
    weight = module.weight.detach()
    return (weight.full_tensor() if hasattr(weight, "full_tensor") else weight).clone()


@pytest.mark.parametrize(("cycles", "skips", "copies"), [(1, False, []), (2, False, [0]), (1, True, [])])
def test_weights_are_put_aside_only_for_further_cycles(cycles, skips, copies, monkeypatch):
    made, forwards = [], []
    trainer = object.__new__(CPPOSeparateAsync)
    trainer.progress = SimpleNamespace(tell=lambda *_, **__: None)
    counted = []
    trainer._count, trainer._columns = lambda name, _: counted.append(name), lambda *_: []
    trainer.parameter_sync_step, trainer.local_trigger_step = cycles, 0
    trainer.cppo = SimpleNamespace(skip_old_log_prob=skips)
    trainer.config = SimpleNamespace(algorithm={"rollout_correction": None})
    trainer.actor_rollout_wg = SimpleNamespace(save_model_to_cpu=made.append)
    monkeypatch.setattr(PPOTrainer, "_compute_old_log_prob", lambda _, batch, metrics: forwards.append(batch))
    if skips:
        monkeypatch.setattr("cppo_verl.trainer.v1.step.tq.kv_batch_get", lambda **_: {"advantages": torch.zeros(1)})
        monkeypatch.setattr("cppo_verl.trainer.v1.step.tq.kv_batch_put", lambda **_: None)
    batch = SimpleNamespace(keys=[], partition_id="train")
    trainer._compute_old_log_prob(batch, {})
    assert made == copies and len(forwards) == (not skips)
    assert counted == ([] if skips else ["old"]), "its padding is logged however many cycles there are"

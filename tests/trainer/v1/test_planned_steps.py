"""verl's V1 loop over our plan: a run makes its planned steps, and no more."""

from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from verl.trainer.ppo.v1 import PPOTrainerSync, trainer_base

from cppo_verl.algorithm.planning import plan_step
from cppo_verl.trainer.questions import steps_of_run

PLAN = plan_step(0, 4, 8, 8)


@pytest.mark.parametrize("done", [0, 1, 3, 5, 6])
@pytest.mark.parametrize(("asked", "planned"), [(None, 6), (5, 5), (2, 2)])
def test_a_run_makes_its_planned_steps_from_wherever_it_goes_on(monkeypatch, asked, planned, done):
    """Of 25 questions in 2 epochs: 3 steps each. Its epochs are counted in steps, however many questions one takes."""
    made = []
    for name in ("Tracking", "ValidationGenerationsLogger", "DapoFilteredRewardTableLogger"):
        monkeypatch.setattr(trainer_base, name, lambda *_, **__: SimpleNamespace(log=lambda *_, **__: None))
    monkeypatch.setattr(trainer_base.SkipManager, "init", lambda config: None)
    monkeypatch.setattr(trainer_base, "tq", SimpleNamespace(kv_clear=lambda **_: None))
    trainer = object.__new__(PPOTrainerSync)
    options = {"project_name": "p", "experiment_name": "e", "logger": [], "val_before_train": False, "save_freq": -1}
    options |= {"test_freq": -1, "total_epochs": 2}
    trainer.config = OmegaConf.create({"trainer": options, "global_profiler": {"steps": None}})
    trainer.global_steps, trainer.steps_per_epoch = done, PLAN.steps_per_epoch(25)
    trainer.total_training_steps = steps_of_run(PLAN, 25, 2, asked)
    trainer.step = lambda *_: made.append(trainer.global_steps) or SimpleNamespace(keys=[], partition_id="train")
    stages = ("_reissue_inflight_prompts", "_start_profiling", "_stop_profiling", "_compute_metrics")
    for name in (*stages, "on_train_begin", "on_step_begin", "on_step_end", "on_train_end", "_shutdown_dump_executor"):
        setattr(trainer, name, lambda *_, **__: None)
    trainer._consume_sync_metrics = dict
    trainer.fit(None)
    assert made == list(range(done + 1, planned + 1))

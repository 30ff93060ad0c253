"""What a trainer tells, and when, over stand-ins of verl's trainer and workers."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from cppo_verl.runs.checkpoints import Checkpoints
from cppo_verl.runs.folder import PROGRESS_FILE
from cppo_verl.trainer.progress import ReportsProgress, TellingTracking
from cppo_verl.trainer.weight_check import not_finite
from cppo_verl.watch.alarms import NotFinite
from cppo_verl.watch.updates import NoUpdate

SAMPLED = {"cppo/questions": 4, "cppo/completions_kept": 8, "cppo/completions_sampled": 16, "actor/grad_norm": 0.5}
VALIDATION = {"val-core/toy/acc/mean@1": 0.5, "val-aux/toy/num_questions": 16}


class Workers:
    """A worker group of verl's: of these models, one a rank."""

    def __init__(self, *models: torch.nn.Module):
        self.models = models

    def execute_with_func_generator(self, look):
        found = [look(SimpleNamespace(engine=SimpleNamespace(module=model))) for model in self.models]
        return found[0].concat(found)


class Verl:
    """verl's side of a trainer: start-up in its order, and a step."""

    def __init__(self, config):
        self.config, self.cppo = config, SimpleNamespace(save_best=False)
        self._open_run_folder(config)
        self.plan, self.total_training_steps, self.use_critic = SimpleNamespace(questions=4), 3, False
        self.metrics, self.timing_raw, self.global_steps = {}, {"gen": 1.0}, 0
        self.logged = []

    def start(self, model: torch.nn.Module) -> None:
        self.actor_rollout_wg = Workers(model)
        self.reward_loop_manager = "made when the weights are there"
        self.logger = SimpleNamespace(log=lambda data, step: self.logged.append(step), logger={})
        self._load_checkpoint()
        self._continue_log()

    def step(self, **metrics) -> None:
        self.global_steps += 1
        self.metrics = SAMPLED | metrics | {"training/global_step": self.global_steps}

    def _load_checkpoint(self) -> None: ...

    def _save_checkpoint(self) -> None: ...

    def _validate(self) -> dict:
        return VALIDATION


class Trainer(ReportsProgress, Verl):
    """The mixin over it."""


@pytest.fixture
def trainer(tmp_path) -> Trainer:
    config = {
        "trainer": {
            "default_local_dir": str(tmp_path),
            "max_actor_ckpt_to_keep": 1,
            "max_critic_ckpt_to_keep": 1,
            "resume_mode": "auto",
            "val_only": False,
            "val_before_train": False,
            "logger": ["file"],
        },
        "data": {"max_response_length": 8},
        "actor_rollout_ref": {"actor": {"optim": {"clip_grad": 1.0}}},
    }
    trainer = Trainer(OmegaConf.create(config))
    trainer.start(torch.nn.Linear(2, 2))
    return trainer


def told(trainer: Trainer) -> list[dict]:
    """The events so far."""
    path = f"{trainer.config.trainer.default_local_dir}/{PROGRESS_FILE}"
    with open(path) as file:
        return [json.loads(line) for line in file]


def test_a_start_tells_what_it_waits_for(trainer):
    trainer._continue_log()
    assert [(event["event"], event.get("what")) for event in told(trainer)] == [
        ("waiting", "the workers"),
        ("waiting", "the weights"),
        ("waiting", "the rollout engine"),
        ("training", None),
    ]
    assert told(trainer)[-1]["step"] == 0 and isinstance(trainer.logger, TellingTracking), "wrapped once"
    assert not isinstance(trainer.logger._tracking, TellingTracking)


def test_a_step_is_told_before_its_checkpoint_and_validation_and_once(trainer):
    trainer.step()
    trainer._save_checkpoint()
    trainer._validate()
    trainer.logger.log(data=trainer.metrics, step=1)
    trainer.step()
    trainer.logger.log(data=trainer.metrics, step=2)
    names = [event["event"] for event in told(trainer)[4:]]
    assert names == ["step", "busy", "checkpoint", "busy", "validation", "step"]
    validation = told(trainer)[8]
    assert (validation["step"], validation["accuracy"], validation["questions"]) == (1, 0.5, 16)
    assert trainer.logged == [1, 2]


def test_an_alarm_follows_its_step(trainer):
    trainer.step(**{"response_length/clip_ratio": 1.0})
    trainer._validate()
    assert [event["event"] for event in told(trainer)[4:6]] == ["step", "alarm"]


@pytest.mark.parametrize("metric", ["actor/grad_norm", "actor/pg_loss"])
def test_a_step_that_is_lost_is_not_saved(trainer, metric, tmp_path):
    trainer.step(**{metric: math.nan})
    with pytest.raises(NotFinite, match=f"step 1: {metric} is nan"):
        trainer._save_checkpoint()
    assert Checkpoints(tmp_path).last_complete() is None and not list(tmp_path.glob("global_step_*"))


def test_a_run_that_updates_nothing_ends_before_it_saves(trainer, tmp_path):
    """With `cppo.zero_variance=drop` and all rewards equal."""
    nothing = {"cppo/completions_kept": 0, "actor/grad_norm": None}
    for step in (1, 2, 3):
        trainer.step(**nothing)
        del trainer.metrics["actor/grad_norm"]
        if step < 3:
            trainer.logger.log(data=trainer.metrics, step=step)
    with pytest.raises(NoUpdate, match="steps 1 to 3 updated nothing"):
        trainer._save_checkpoint()
    assert not list(tmp_path.glob("global_step_*"))


def test_a_policy_that_is_lost_is_not_saved(trainer, tmp_path):
    """Its weights and its gradient are finite; verl clamps what a token adds to the divergence."""
    trainer.step(**{"actor/ppo_kl": 14.2})
    with pytest.raises(NotFinite, match=r"actor/ppo_kl is 14\.2 nats per token"):
        trainer._save_checkpoint()
    assert not list(tmp_path.glob("global_step_*"))


def test_verl_deletes_no_checkpoint(trainer):
    """Neither of its two: a kill between them would leave a critic without its actor, or none that is complete."""
    options = trainer.config.trainer
    assert (options.max_actor_ckpt_to_keep, options.max_critic_ckpt_to_keep) == (None, None)
    assert trainer.checkpoints.keep == 1


def test_where_nothing_is_saved_it_is_logged_and_ends(trainer):
    trainer.step(**{"actor/grad_norm": math.inf})
    with pytest.raises(NotFinite):
        trainer.logger.log(data=trainer.metrics, step=1)
    assert trainer.logged == [1]


def test_a_weight_that_is_not_finite_is_not_saved(trainer, tmp_path):
    trainer.step()
    trainer.actor_rollout_wg.models[0].bias.data[1] = math.inf
    with pytest.raises(NotFinite, match=r"step 1: weights are not finite: bias\. "):
        trainer._save_checkpoint()
    assert not list(tmp_path.glob("global_step_*"))


def test_weights_of_all_ranks_and_kinds_are_looked_at():
    fine, lost, quantized = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    lost.weight.data[0, 0] = math.nan
    quantized.weight = torch.nn.Parameter(torch.ones(2, 2, dtype=torch.int8), requires_grad=False)
    assert not_finite(Workers(fine, quantized)) == []
    assert not_finite(Workers(fine, lost, lost)) == ["weight"]
    assert not_finite(Workers([fine, lost])) == ["weight"], "the parts of a pipeline"

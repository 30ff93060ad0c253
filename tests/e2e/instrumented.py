"""`cppo_verl.train` with workers that write down what they are given.

`+own.cppo_by_step=[{allocation:true},...]` changes CPPO's options from step to step. `+own.verl_first=N` lets verl's
own `RayPPOTrainer` train N steps before that, from the same weights on the same start, in `RUN/verl`.
`trainer.use_v1=true +own.verls_own=true` trains with verl's own V1 trainer of the mode. `+own.completions=FOLDER` is
for the agent loop of `replaying`. `+own.lost_at=N` makes a weight infinite after the actor's N-th call to update. Each
rank writes one file a call to `RUN/calls/rank_N/`: which forward, and the rows it saw; for an update also weights and
gradients.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import socket
import sys
from pathlib import Path

os.environ["VERL_PLATFORM"] = "cpu"  # before verl is imported

import ray
import replaying
import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from verl.trainer.main_ppo import TaskRunnerV1
from verl.trainer.ppo.ray_trainer import RayPPOTrainer
from verl.trainer.ppo.utils import Role
from verl.trainer.ppo.v1 import get_trainer_cls
from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY
from verl.workers.engine_workers import TrainingWorker

import cppo_verl.train
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.config.compose import run_with_config
from cppo_verl.cpu.worker import CPUActorRolloutRefWorker
from cppo_verl.preflight.plan import cycle_from_config, is_separate, plan_from_config
from cppo_verl.studies.sequence import hand_over, save_initial, start_workers
from cppo_verl.trainer.v0.critic import CriticWorker
from cppo_verl.trainer.v0.task_runner import CPPOTaskRunner
from cppo_verl.trainer.v0.trainer import RayCPPOTrainer
from cppo_verl.trainer.v1.worker import CPUKeepingWorker

FOLDER = "CPPO_TEST_CALLS"
LOST_AT = "CPPO_TEST_LOST_AT"


class Recorder(TrainingWorker):
    """verl's actor or reference, recording its calls."""

    calls = itertools.count()
    updates = itertools.count(1)

    def record(self, kind: str, **content) -> None:
        path = Path(os.environ[FOLDER]) / f"rank_{self.rank}"
        path.mkdir(parents=True, exist_ok=True)
        torch.save({"kind": kind, **content}, path / f"{next(self.calls):04d}.pt")

    def reset(self):
        self.record("load", forward_only=self.engine_config.forward_only)
        return super().reset()

    def infer_batch(self, data):
        self.record("ref" if self.engine_config.forward_only else "old", rows=len(data))
        return super().infer_batch(data)

    def train_mini_batch(self, data):
        self.record("update", rows=len(data), data=plain(data))
        step = self.engine.optimizer_step

        def recorded_step():
            named = list(self.engine.module.named_parameters())
            weights = {name: full(p).clone() for name, p in named}
            gradients = {name: full(p.grad).clone() for name, p in named if p.grad is not None}
            self.record("optimizer step", weights=weights, gradients=gradients)
            return step()

        self.engine.optimizer_step = recorded_step
        try:
            return super().train_mini_batch(data)
        finally:
            self.engine.optimizer_step = step
            if next(self.updates) == int(os.environ.get(LOST_AT, 0)):
                weight = next(self.engine.module.parameters()).detach()
                getattr(weight, "to_local", lambda: weight)()[0] = torch.inf


class RecordingWorker(CPUActorRolloutRefWorker):
    actor_worker_cls = ref_worker_cls = Recorder

    def __init__(self, *args, **kwargs):
        take_port()
        super().__init__(*args, **kwargs)


def take_port() -> None:
    """Where the file that `CPPO_TEST_PORT` names is there, once: listen at the port that verl picked for workers."""
    flag = os.environ.get("CPPO_TEST_PORT")
    if flag and os.path.exists(flag):
        os.unlink(flag)
        taken = socket.create_server(("", int(os.environ["MASTER_PORT"])))
        atexit.register(taken.close)  # and so it lives as long as the process


class RecordingCritic(CriticWorker):
    """The project's critic, recording its calls; `wraps` keeps what makes a method callable by verl's driver."""

    calls = itertools.count(10_000)

    record = Recorder.record

    @functools.wraps(CriticWorker.infer_batch)
    def infer_batch(self, data):
        self.record("values", rows=len(data))
        return super().infer_batch(data)

    @functools.wraps(CriticWorker.train_mini_batch)
    def train_mini_batch(self, data):
        named = list(self.engine.module.named_parameters())
        before = {name: full(p.detach()).clone() for name, p in named}
        result = super().train_mini_batch(data)
        self.record(
            "critic update", data=plain(data), before=before, after={n: full(p.detach()).clone() for n, p in named}
        )
        return result


class RecordingDetachWorker(CPUKeepingWorker):
    actor_worker_cls = ref_worker_cls = Recorder


def plain(data) -> dict:
    """The tensors of a verl batch, ragged ones as lists of rows."""
    tensors = {key: value for key, value in data.items() if isinstance(value, torch.Tensor)}
    return {k: [row.clone() for row in v.unbind()] if v.is_nested else v.clone() for k, v in tensors.items()}


def full(tensor: torch.Tensor) -> torch.Tensor:
    """The whole of a sharded tensor."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


class InstrumentedRunner(CPPOTaskRunner):
    """The project's runner, with the worker above."""

    def add_actor_rollout_worker(self, config: DictConfig):
        result = super().add_actor_rollout_worker(config)
        (role,) = self.role_worker_mapping.keys() - {Role.Critic}
        self.role_worker_mapping[role] = ray.remote(RecordingWorker)
        return result

    def add_critic_worker(self, config: DictConfig) -> None:
        super().add_critic_worker(config)
        self.role_worker_mapping[Role.Critic] = ray.remote(RecordingCritic)


class ReplanningTrainer(RayCPPOTrainer):
    """The project's trainer, with options by step: several plans from one start of the stack."""

    def fit_step(self, questions) -> None:
        config = self.config.copy()
        config.cppo.update(config.own.cppo_by_step[self.global_steps - 1])
        self.cppo, self.plan = CPPOConfig.from_mapping(config.cppo), plan_from_config(config)
        super().fit_step(questions)


class ReplanningRunner(InstrumentedRunner):
    """The same around the trainer above."""

    trainer_class = ReplanningTrainer


class ParityRunner(ReplanningRunner):
    """The same after verl's own, unmodified trainer."""

    def run(self, config: DictConfig) -> None:
        of_verl = config.copy()
        of_verl.trainer.total_training_steps = config.own.verl_first
        of_verl.trainer.default_local_dir += "/verl"
        of_verl.trainer.logger = ["console"]
        self.trainer_class = RayPPOTrainer
        verl = self.make_trainer(of_verl)
        workers, initial = start_workers(verl), Path(of_verl.trainer.default_local_dir) / "initial"
        save_initial(verl, initial)
        self.fit(verl)

        self.trainer_class = ReplanningTrainer
        ours = self.make_trainer(config)
        hand_over(workers, ours, initial)
        self.fit(ours)


class RecordingV1:
    """A mixin over V1 trainers: the worker above, and options by step."""

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()
        worker = RecordingDetachWorker if is_separate(self.config) else RecordingWorker
        self.role_worker_mapping = {role: ray.remote(worker) for role in self.role_worker_mapping}

    def step(self, *args, **kwargs):
        if OmegaConf.select(self.config, "own.cppo_by_step"):
            config = self.config.copy()
            config.cppo.update(config.own.cppo_by_step[self.global_steps - 1])
            self.cppo, self.plan = CPPOConfig.from_mapping(config.cppo), plan_from_config(config)
            self.cycle_plan = cycle_from_config(config)
        return super().step(*args, **kwargs)


class InstrumentedV1Runner(TaskRunnerV1.__ray_metadata__.modified_class.__ray_actor_class__):
    """verl's V1 runner, with the mixin above on CPPO's trainer, or on verl's own."""

    def run(self, config: DictConfig):
        v1 = config.trainer.v1
        if OmegaConf.select(config, "own.verls_own"):
            v1.trainer_mode = v1.trainer_mode.removeprefix("cppo_")
        trainer = get_trainer_cls(v1.trainer_mode)
        TRAINER_REGISTRY[v1.trainer_mode] = type(f"Recording{trainer.__name__}", (RecordingV1, trainer), {})
        super().run(config)


def main(config: DictConfig) -> None:
    """Train by a composed config."""
    with open_dict(config):
        env_vars, folder = config.ray_kwargs.ray_init.runtime_env.env_vars, config.trainer.default_local_dir
        env_vars[FOLDER] = f"{folder}/calls"
        env_vars["VERL_FILE_LOGGER_PATH"] = f"{folder}/metrics.jsonl"
        if OmegaConf.select(config, "own.lost_at"):
            env_vars[LOST_AT] = str(config.own.lost_at)
        if OmegaConf.select(config, "own.completions"):
            env_vars[replaying.FOLDER] = config.own.completions
    if config.trainer.use_v1:
        runner = InstrumentedV1Runner
    elif OmegaConf.select(config, "own.verl_first"):
        runner = ParityRunner
    else:
        runner = ReplanningRunner if OmegaConf.select(config, "own.cppo_by_step") else InstrumentedRunner
    cppo_verl.train.run(config, runner)


if __name__ == "__main__":
    from instrumented import main  # so that Ray's workers import the classes instead of unpickling copies

    run_with_config(main, sys.argv[1:])

"""`trainer.v1.trainer_mode`: CPPO in each of verl's V1 modes.

Registered when verl's trainers are imported (`cppo_verl.plugin`), so that `python -m verl.trainer.main_ppo` knows them.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial

import numpy as np
import ray
import transfer_queue as tq
from omegaconf import DictConfig, open_dict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1 import (
    PPOTrainer,
    PPOTrainerColocateAsync,
    PPOTrainerSeparateAsync,
    PPOTrainerSync,
    register_trainer,
    trainer_separate_async,
)
from verl.workers.rollout.llm_server import LLMServerClient

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.cpu.platform import chosen
from cppo_verl.cpu.roles import use_cpu_workers
from cppo_verl.preflight.asynchronous import places_each, places_faults, uncorrected
from cppo_verl.preflight.outputs import carried_faults, foreign_faults
from cppo_verl.preflight.plan import cycle_from_config, micro_batch_faults, plan_from_config
from cppo_verl.preflight.refusals import refusals, resume_refusals
from cppo_verl.preflight.same_run import changed_faults
from cppo_verl.runs.notices import notice
from cppo_verl.trainer.actor_watch import run_beside
from cppo_verl.trainer.group.pruned import tagged
from cppo_verl.trainer.group.register import use_group_servers
from cppo_verl.trainer.group.scored import SCORED
from cppo_verl.trainer.padding import count_forwards
from cppo_verl.trainer.progress import ReportsProgress
from cppo_verl.trainer.v1.clients import MeteredAsyncClient, MeteredClient
from cppo_verl.trainer.v1.cycle import RunningStep
from cppo_verl.trainer.v1.parts import passing_parts, working_parts
from cppo_verl.trainer.v1.queue import RULE, TRAIN
from cppo_verl.trainer.v1.step import CPPOStep
from cppo_verl.trainer.v1.worker import CPUKeepingWorker, KeepingWorker
from cppo_verl.trainer.watchdog import run_watched
from cppo_verl.trainer.worker_options import set_worker_options

MANAGER = "cppo_verl.trainer.v1.agent_loop.CPPOAgentLoopManagerTQ"
"""verl's agent loops with ours, where the config names no manager."""
UNCORRECTED = (
    "completions of older weights are trained on uncorrected: algorithm.rollout_correction.rollout_is is null, verl's "
    "default; set it to token"
)


class CPPOTrainer(ReportsProgress, CPPOStep):
    """A mixin over verl's V1 trainers: CPPO's step, and how a run starts and goes on."""

    def __init__(self, config: DictConfig):
        self.cppo = CPPOConfig.from_mapping(config.get("cppo"))
        with open_dict(config):  # what verl's own `main_ppo` does not bring
            config.cppo = asdict(self.cppo)
            agent = config.actor_rollout_ref.rollout.agent
            agent.agent_loop_manager_class = agent.get("agent_loop_manager_class") or MANAGER
        checks = refusals, places_faults, resume_refusals, foreign_faults, carried_faults, changed_faults
        if faults := [fault for check in checks for fault in check(config)]:
            raise ConfigError(*faults)
        if uncorrected(config):
            notice(UNCORRECTED)
        self.plan, self.cycle_plan = plan_from_config(config), cycle_from_config(config)
        if faults := list(micro_batch_faults(config, self.cycle_plan)):
            raise ConfigError(*faults)
        set_worker_options(config)
        use_group_servers(config)
        self.this_step, self.timing_raw = RunningStep({}), {}  # before the first: nothing
        self._open_run_folder(config)
        super().__init__(config)

    @property
    def trainer_mode(self) -> str:
        """verl's name of the mode, by which it looks up its options: without our `cppo_`."""
        return self._trainer_mode

    @trainer_mode.setter
    def trainer_mode(self, name: str) -> None:
        self._trainer_mode = name.removeprefix("cppo_")

    def get_llm_client(self) -> LLMServerClient:
        """verl's, with a meter of when the engines have something to sample; the asynchronous modes', which abort what
        is at the engines, with no more requests there than have a place."""
        engines = self._rollout_server_managers()[-1]  # those of their own, where there are
        if self.trainer_mode == "sync":
            return engines.get_client(client_cls=MeteredClient)
        places = places_each(self.config.actor_rollout_ref.rollout, len(engines.get_replicas()))
        return engines.get_client(client_cls=MeteredAsyncClient, places=places)

    def fit(self, agent_loop_manager) -> None:
        """Train, watching over the rollout engines and over what stands between them and the trainer.

        Raises:
            RolloutEngineDied: An engine died; without the watch verl waits for it for ever.
            PartDied: The queue, a load balancer, an agent loop or a reward worker died; the same.
            PartSilent: The queue or a load balancer hangs; the same.
        """
        replicas = [replica for manager in self._rollout_server_managers() for replica in manager.get_replicas()]
        passing, working = passing_parts(self), working_parts(self, agent_loop_manager)
        train = partial(super().fit, agent_loop_manager)
        run_watched(partial(run_beside, train, passing | working, prompt=passing.keys()), replicas)

    def _load_checkpoint(self) -> None:
        """As verl, without the completions that the step of the checkpoint had trained on. Questions that were pruned
        by another rule than the run's now are asked again, with those that were being sampled."""
        super()._load_checkpoint()
        held = (tq.kv_list(TRAIN) or {}).get(TRAIN, {})
        rule = tagged(self.rule_where_sampled, self.config) if self.rule_where_sampled else None
        asked = {key for key, tag in held.items() if tag.get("is_prompt")}
        anew = {uid for uid in asked if (held[uid].get(RULE) or rule) != rule}
        for uid in sorted(anew):
            tq.kv_put(key=uid, partition_id=TRAIN, tag={"status": "pending", SCORED: None, RULE: None})
        gone = [key for key in held if key not in asked and key.split("_")[0] not in asked - anew]
        self._delete(np.array(gone))

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()
        use_cpu_workers(self.role_worker_mapping)

    def _validate_part(self, timing_raw: dict[str, float]) -> dict[str, float]:
        """Between verl's own calls around a validation, which wake and pause engines as the mode needs."""
        if not self._part_is_due(self.global_steps, self.metrics):
            return {}
        self.on_validate_begin()
        metrics = super()._validate_part(timing_raw)
        self.on_validate_end()
        return metrics

    def _compute_metrics(self, batch: KVBatchMeta, metrics: dict, timing_raw: dict, *args, **kwargs) -> None:
        """verl's first call after a step and its own validation."""
        metrics |= self._validate_part(timing_raw)
        super()._compute_metrics(batch, metrics, timing_raw, *args, **kwargs)

    def on_validate_begin(self) -> None:
        """verl's first call after its logger is there, where it validates before training."""
        self._continue_log()
        super().on_validate_begin()

    def on_train_begin(self) -> None:
        """verl's first call after its logger is there, where it does not."""
        self._continue_log()
        groups = self.actor_rollout_wg, *([self.ref_policy_wg] if self.use_reference_policy else [])
        count_forwards(self.config, *groups)
        super().on_train_begin()


@register_trainer("cppo_sync")
class CPPOSync(CPPOTrainer, PPOTrainerSync):
    """Engine and trainer take turns on the same devices; a step trains on what its own weights sampled."""


@register_trainer("cppo_colocate_async")
class CPPOColocateAsync(CPPOTrainer, PPOTrainerColocateAsync):
    """The same, but what is being sampled when a step is full is paused, and used in a later step."""


@register_trainer("cppo_separate_async")
class CPPOSeparateAsync(CPPOTrainer, PPOTrainerSeparateAsync):
    """Engines on devices of their own go on sampling while a step trains, in cycles of a part of its questions."""

    def _setup(self) -> None:
        """verl 0.9.1 gives a log line an argument that only `print` takes, with `hybrid_engine=false`."""
        logger = logging.getLogger(trainer_separate_async.__name__)
        level = logger.level
        logger.setLevel(logging.WARNING)
        super()._setup()
        logger.setLevel(level)

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()
        worker = ray.remote(CPUKeepingWorker if chosen() else KeepingWorker)
        self.role_worker_mapping = dict.fromkeys(self.role_worker_mapping, worker)  # actor, and reference

    def _old_forward(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """verl's puts the weights aside for a step's further cycles, also where there are none."""
        if self.parameter_sync_step > 1:
            return super()._old_forward(batch, metrics)
        return PPOTrainer._compute_old_log_prob(self, batch, metrics)

"""The Ray actor that owns a run's trainer."""

from __future__ import annotations

import ray
from omegaconf import DictConfig
from verl.trainer.main_ppo_v0 import BaseTaskRunner
from verl.trainer.ppo.ray_trainer import Role
from verl.trainer.ppo.utils import create_rl_dataset, create_rl_sampler, need_critic
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.dataset.rl_dataset import collate_fn
from verl.workers.config import HFModelConfig

from cppo_verl.cpu.roles import use_cpu_workers
from cppo_verl.trainer.group.register import use_group_servers
from cppo_verl.trainer.v0.critic import CriticWorker
from cppo_verl.trainer.v0.trainer import RayCPPOTrainer
from cppo_verl.trainer.watchdog import run_watched
from cppo_verl.trainer.worker_options import set_worker_options


class CPPOTaskRunner(BaseTaskRunner):
    """verl 0.9.1's `TaskRunner` with another trainer, the CPU's worker where there is no GPU, and a watch
    over the rollout engine."""

    trainer_class = RayCPPOTrainer

    def add_actor_rollout_worker(self, config: DictConfig):
        """Map the actor's role to verl's worker, or on the CPU to ours."""
        added = super().add_actor_rollout_worker(config)
        use_cpu_workers(self.role_worker_mapping)
        return added

    def add_critic_worker(self, config: DictConfig) -> None:
        """Map the critic's role to verl's worker with our engine."""
        super().add_critic_worker(config)
        self.role_worker_mapping[Role.Critic] = ray.remote(CriticWorker)

    def run(self, config: DictConfig) -> None:
        """Build datasets, workers and trainer, and train.

        Raises:
            RolloutEngineDied: The engine died; without the watch verl waits for it for ever.
        """
        trainer = self.make_trainer(config)
        trainer.init_workers()
        self.fit(trainer)

    def make_trainer(self, config: DictConfig) -> RayCPPOTrainer:
        """A run's datasets and trainer; its workers are not started."""
        set_worker_options(config)
        use_group_servers(config)
        _, worker_group = self.add_actor_rollout_worker(config)
        if need_critic(config):
            self.add_critic_worker(config)
        self.add_reward_model_resource_pool(config)
        model: HFModelConfig = omega_conf_to_dataclass(config.actor_rollout_ref.model)
        train, val = (
            create_rl_dataset(
                config.data[f"{split}_files"],
                config.data,
                model.tokenizer,
                model.processor,
                is_train=split == "train",
                max_samples=config.data[f"{split}_max_samples"],
            )
            for split in ("train", "val")
        )
        return self.trainer_class(
            config=config,
            tokenizer=model.tokenizer,
            processor=model.processor,
            role_worker_mapping=self.role_worker_mapping,
            resource_pool_manager=self.init_resource_pool_mgr(config),
            ray_worker_group_cls=worker_group,
            train_dataset=train,
            val_dataset=val,
            collate_fn=collate_fn,
            train_sampler=create_rl_sampler(config.data, train),
        )

    def fit(self, trainer: RayCPPOTrainer) -> None:
        """Train, watching over the rollout engine."""
        run_watched(trainer.fit, trainer.llm_server_manager.get_replicas())

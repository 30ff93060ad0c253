"""`RayCPPOTrainer`: verl's colocated trainer with CPPO's step."""

from __future__ import annotations

import torch
from omegaconf import open_dict
from verl.trainer.ppo.ray_trainer import RayPPOTrainer
from verl.utils.skip.skip_manager import SkipManager

from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.preflight.plan import plan_from_config
from cppo_verl.trainer.padding import count_forwards
from cppo_verl.trainer.progress import ReportsProgress
from cppo_verl.trainer.questions import QuestionStream
from cppo_verl.trainer.v0.step import CPPOStep


class RayCPPOTrainer(ReportsProgress, CPPOStep):
    """Completion Pruning Policy Optimization (arXiv 2503.22342) in verl 0.9.1: how a run starts and goes on.

    Of verl's two V0 trainers, `SeparateRayPPOTrainer` cuts the step into small methods (see `CPPOStep`), and
    `RayPPOTrainer.init_workers` sets up the colocated engines; this takes one from each.
    """

    def __init__(self, config, *args, **kwargs):
        self.cppo = CPPOConfig.from_mapping(config.cppo)
        self.plan = plan_from_config(config)
        self._open_run_folder(config)
        super().__init__(config, *args, **kwargs)

    def init_workers(self) -> None:
        """Actor, reference and rollout on the same devices (the parent's is for separate pools)."""
        RayPPOTrainer.init_workers(self)

    def fit(self) -> None:
        """Train until the data, or `trainer.total_training_steps`, are used up."""
        SkipManager.init(self.config)
        count_forwards(self.config, self.actor_rollout_wg, *([self.ref_policy_wg] if self.use_reference_policy else []))
        try:
            super().fit()
        finally:
            self._shutdown_dump_executor()

    def _create_dataloader(self, train_dataset, val_dataset, collate_fn, train_sampler) -> None:
        """verl's dataloaders, the training one of single questions behind a `QuestionStream`."""
        epochs = self.config.trainer.total_epochs
        with open_dict(self.config):
            if self.config.trainer.total_training_steps is None:
                steps = self.plan.steps_per_epoch(len(train_dataset)) * epochs
                self.config.trainer.total_training_steps = steps
            self.config.data.gen_batch_size = 1  # what verl reads as the training dataloader's batch size
        super()._create_dataloader(train_dataset, val_dataset, collate_fn, train_sampler)
        self.config.data.gen_batch_size = self.plan.questions
        self.train_dataloader = QuestionStream(self.train_dataloader, self.plan.questions, epochs)

    def _fit_validate(self) -> None:
        """verl's, and between those a part's."""
        super()._fit_validate()
        self.metrics |= self._validate_part(self.timing_raw)

    def _load_checkpoint(self) -> None:
        """The data go on where they stopped also at an epoch's end, where verl starts over."""
        super()._load_checkpoint()
        if self.global_steps and not self.config.trainer.val_only:
            self.train_dataloader.load_state_dict(torch.load(self._loaded_folder() / "data.pt", weights_only=False))
        self._continue_log()

"""`RayCPPOTrainer`: verl's colocated trainer with CPPO's step."""

from __future__ import annotations

import torch
from omegaconf import OmegaConf, open_dict
from tqdm import tqdm
from verl.trainer.ppo.ray_trainer import RayPPOTrainer
from verl.utils.skip.skip_manager import SkipManager
from verl.utils.tracking import Tracking

from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.preflight.plan import plan_from_config
from cppo_verl.runs.notices import notice
from cppo_verl.trainer.padding import count_forwards
from cppo_verl.trainer.progress import ReportsProgress
from cppo_verl.trainer.questions import QuestionStream, one_by_one, steps_of_run
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
        """Train until the planned steps are done.

        verl 0.9.1's, but for its loop, which runs over epochs of whole batches: a step draws its questions itself.
        """
        SkipManager.init(self.config)
        count_forwards(self.config, self.actor_rollout_wg, *([self.ref_policy_wg] if self.use_reference_policy else []))
        try:
            self._start()
            if not self.config.trainer.val_only:
                self._train()
        finally:
            self._shutdown_dump_executor()

    def _start(self) -> None:
        """What verl does before its loop: the logger, the checkpoint, the engine's weights, the first validation."""
        trainer = self.config.trainer
        written = OmegaConf.to_container(self.config, resolve=True)
        self.logger = Tracking(trainer.project_name, trainer.experiment_name, trainer.logger, config=written)
        self.global_steps = 0
        self._load_checkpoint()
        self.checkpoint_manager.update_weights(self.global_steps)
        if trainer.val_before_train:
            self.logger.log(data=self._validate(), step=self.global_steps)

    def _train(self) -> None:
        """Step after step, from the one after the checkpoint's; none where that was the last, and verl 0.9.1 would
        train on."""
        self.progress_bar = tqdm(total=self.total_training_steps, initial=self.global_steps, desc="Training Progress")
        self.global_steps += 1
        self.last_val_metrics, self.max_steps_duration = None, 0
        self.prev_step_profile, self.next_step_profile = False, False
        self.curr_step_profile = self.global_steps in (self.config.global_profiler.steps or ())
        if self.global_steps > self.total_training_steps:
            notice(f"All {self.total_training_steps} steps are done")
        while self.global_steps <= self.total_training_steps:
            self.fit_step(self.train_dataloader)

    def _create_dataloader(self, train_dataset, val_dataset, collate_fn, train_sampler) -> None:
        """verl's dataloaders, the training one of single questions behind a `QuestionStream`."""
        trainer, plan = self.config.trainer, self.plan
        with open_dict(self.config):
            trainer.total_training_steps = steps_of_run(
                plan, len(train_dataset), trainer.total_epochs, trainer.total_training_steps
            )
            self.config.data.gen_batch_size = plan.questions  # by which verl names what it replays (`skip.rollout`)
        super()._create_dataloader(train_dataset, val_dataset, collate_fn, train_sampler)
        self.train_dataloader = QuestionStream(one_by_one(self.train_dataloader), plan.questions)

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

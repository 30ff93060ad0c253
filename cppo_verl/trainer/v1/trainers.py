"""`trainer.v1.trainer_mode`: CPPO in each of verl's V1 modes.

Registered when verl's trainers are imported (`cppo_verl.plugin`), so that `python -m verl.trainer.main_ppo` knows them.
"""

from __future__ import annotations

import logging

from verl.trainer.ppo.v1 import (
    PPOTrainerColocateAsync,
    PPOTrainerSeparateAsync,
    PPOTrainerSync,
    register_trainer,
    trainer_separate_async,
)

from cppo_verl.trainer.v1.step import CPPOStep


@register_trainer("cppo_sync")
class CPPOSync(CPPOStep, PPOTrainerSync):
    """Engine and trainer take turns on the same devices; a step trains on what its own weights sampled."""


@register_trainer("cppo_colocate_async")
class CPPOColocateAsync(CPPOStep, PPOTrainerColocateAsync):
    """The same, but what is being sampled when a step is full is paused, and used in a later step."""


@register_trainer("cppo_separate_async")
class CPPOSeparateAsync(CPPOStep, PPOTrainerSeparateAsync):
    """Engines on devices of their own, which go on sampling while a step trains; its mini-batches are cycles."""

    cpu_worker = "CPUDetachActorWorker"

    def _setup(self) -> None:
        """verl 0.9.1 gives a log line an argument that only `print` takes, with `hybrid_engine=false`."""
        logger = logging.getLogger(trainer_separate_async.__name__)
        level = logger.level
        logger.setLevel(logging.WARNING)
        super()._setup()
        logger.setLevel(level)

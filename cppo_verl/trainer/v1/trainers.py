"""`trainer.v1.trainer_mode`: CPPO in each of verl's V1 modes.

Registered when verl's trainers are imported (`cppo_verl.plugin`), so that `python -m verl.trainer.main_ppo` knows them.
"""

from __future__ import annotations

from verl.trainer.ppo.v1 import PPOTrainerColocateAsync, PPOTrainerSync, register_trainer

from cppo_verl.trainer.v1.step import CPPOStep


@register_trainer("cppo_sync")
class CPPOSync(CPPOStep, PPOTrainerSync):
    """Engine and trainer take turns on the same devices; a step trains on what its own weights sampled."""


@register_trainer("cppo_colocate_async")
class CPPOColocateAsync(CPPOStep, PPOTrainerColocateAsync):
    """The same, but what is being sampled when a step is full is paused, and used in a later step."""

"""verl's own check of a config, which its `main_ppo` makes and no trainer does."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from copy import deepcopy

from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import validate_config

from cppo_verl.algorithm.errors import ConfigError

REFUSALS = (AssertionError, ValueError, TypeError, RuntimeError, HydraException, OmegaConfBaseException)
"""What verl 0.9.1's check raises, and the dataclasses that it makes of the config."""


def check_by_verl(config: DictConfig) -> None:
    """What verl refuses is refused, but for two things that it is not asked.

    How many rows split over the ranks is the plan's to say, not GRPO's sizes; and the rank of an adapter is vLLM's,
    which would have to be imported here.

    Args:
        config: As `preflight.prepare` left it; it is not changed.

    Raises:
        ConfigError: verl's own words.
    """
    asked = deepcopy(config)
    parts, ranks = asked.actor_rollout_ref, asked.trainer.n_gpus_per_node * asked.trainer.nnodes
    with open_dict(asked):
        parts.rollout.n = ranks * (parts.actor.get("ppo_micro_batch_size_per_gpu") or 1)
        parts.model.update(lora_rank=0, lora={})
    try:
        with redirect_stdout(io.StringIO()):  # that all is well, and remarks on deprecated options
            validate_config(asked, need_reference_policy(asked), need_critic(asked))
    except REFUSALS as error:
        cause = error.__cause__ or error  # Hydra's is of a class that could not be made, with a stack
        raise ConfigError(f"verl refuses this config: {' '.join(str(cause).split()) or repr(cause)}") from error

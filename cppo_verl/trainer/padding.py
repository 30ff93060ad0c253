"""How many tokens of padding a step's forwards see, and how full their micro-batches are: counted in the workers.

The driver knows which rows a rank gets, not how verl's engine splits them into micro-batches; to work that out again
takes the driver longer than all else that it does.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from omegaconf import DictConfig
from verl import DataProto
from verl.single_controller.base import Worker, WorkerGroup

COUNTER = "cppo_forward_counter"
"""Attribute of a worker's model."""


class ForwardCounter:
    """A hook of torch's before each forward of a model of verl's FSDP engine, which has one a micro-batch.

    Args:
        options: The engine's: whether micro-batches are made by a token budget, and the budgets.
    """

    def __init__(self, options: Any):
        self.options = options
        self.tokens = 0
        """Places in the forwards so far, padding too."""
        self.room = 0
        """Token budgets of their micro-batches; 0 where these are of a fixed number of rows."""

    def __call__(self, model: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        self.tokens += kwargs["input_ids"].numel()
        if self.options.use_dynamic_bsz:
            learns = torch.is_grad_enabled()
            self.room += self.options.max_token_len_per_gpu if learns else self.options.infer_max_token_len_per_gpu

    def take(self) -> tuple[int, int]:
        """Tokens and room since the last call."""
        taken, self.tokens, self.room = (self.tokens, self.room), 0, 0
        return taken


def count_forwards(config: DictConfig, *groups: WorkerGroup) -> None:
    """Count from now on, in all workers of these groups; again is harmless."""
    if _is_counted(config):
        for workers in groups:
            workers.execute_with_func_generator(take_actors)
            workers.execute_with_func_generator(take_references)


def forward_metrics(
    name: Literal["old", "ref", "update"], workers: WorkerGroup, tokens: int, config: DictConfig
) -> dict[str, float]:
    """Padding of a step's old, reference or update forwards over all ranks, and how full their micro-batches are.

    verl hands its FSDP engine rows without padding. With `use_remove_padding` the engine packs a micro-batch into one
    sequence; without, it pads it to its longest row.

    Args:
        name: Of the forwards, which are over, and whose counts were not taken yet.
        workers: That made them.
        tokens: Prompt and response tokens of the rows to train on.
        config: The run's.

    Returns:
        `cppo/padding/NAME`, tokens, the update's over all PPO epochs, and `cppo/fill/NAME`, tokens over the token
        budget of the micro-batches, where there is one. Nothing where no forward was made (old log-probs that are the
        rollout's), or it is not known: other engines, and sequence parallel.
    """
    if not _is_counted(config):
        return {}
    counts = workers.execute_with_func_generator(take_references if name == "ref" else take_actors)
    seen, room = counts.batch["counts"].sum(dim=0).tolist()
    if not seen:
        return {}
    real = tokens * (config.actor_rollout_ref.actor.ppo_epochs if name == "update" else 1)
    return {f"cppo/padding/{name}": seen - real} | ({f"cppo/fill/{name}": real / room} if room else {})


def take_actors(worker: Worker) -> DataProto:
    """In a worker: counts of its policy, tokens and room."""
    return _taken(worker.actor)


def take_references(worker: Worker) -> DataProto:
    """In a worker: those of its reference; with LoRA that is the policy without adapters."""
    return _taken(worker.ref or worker.actor)


def _taken(trained: Any) -> DataProto:
    counts = (0, 0)
    if trained is not None:  # of the role `ref` alone, or of none
        engine = trained.engine
        counter = getattr(engine.module, COUNTER, None)
        if counter is None:
            counter = ForwardCounter(engine.engine_config)
            engine.module.register_forward_pre_hook(counter, with_kwargs=True)
            setattr(engine.module, COUNTER, counter)
        counts = counter.take()
    return DataProto.from_dict({"counts": torch.tensor([counts])})


def _is_counted(config: DictConfig) -> bool:
    """verl gives ranks of one sequence parts of it, of an image's model the whole of it."""
    actor = config.actor_rollout_ref.actor
    return actor.strategy.startswith("fsdp") and actor.ulysses_sequence_parallel_size == 1

"""How many tokens of padding a step's forwards see, and how full their micro-batches are."""

from __future__ import annotations

import torch
from omegaconf import DictConfig
from verl.utils.seqlen_balancing import calculate_workload, get_seqlen_balanced_partitions


def padding_metrics(lengths: torch.Tensor, mini_batch_rows: int, ranks: int, config: DictConfig) -> dict[str, float]:
    """Padding tokens of the old, reference and update forwards over all ranks, and how full their micro-batches are.

    verl hands its FSDP engine rows without padding. With `use_remove_padding` the engine packs a micro-batch
    into one sequence: no padding. Without, it pads each micro-batch to its longest row; how rows fall into
    micro-batches is worked out here as verl 0.9.1's `prepare_micro_batches` does in the workers.

    Args:
        lengths: Prompt and response tokens of the rows to train on, in batch order, `(num_rows,)`.
        mini_batch_rows: Rows of an optimiser update.
        ranks: Data-parallel ranks; each gets an equal run of rows.
        config: The run's.

    Returns:
        `cppo/padding/{old,ref,update}`, the update's over all PPO epochs, and `cppo/fill/{old,ref,update}`, tokens
        over the token budget of the micro-batches, where there is one; of each forward, whether the run has it or
        not. Left out where it is not known: other engines, packed sequences that are rounded up (sequence parallel,
        `pad_to_length`), and the update's with shuffled mini-batches (its padding is known to be 0 where rows are
        packed).
    """
    parts = config.actor_rollout_ref
    actor, fsdp = parts.actor, parts.actor.get("fsdp_config", {})
    if not actor.strategy.startswith("fsdp") or actor.ulysses_sequence_parallel_size > 1 or fsdp.get("pad_to_length"):
        return {}
    packed = parts.model.use_remove_padding
    padding = dict.fromkeys(("cppo/padding/old", "cppo/padding/ref", "cppo/padding/update"), 0)
    if not len(lengths):
        return padding
    shares = lengths.chunk(ranks)
    forwards = {
        name: (
            part.log_prob_max_token_len_per_gpu if part.log_prob_use_dynamic_bsz else None,
            part.log_prob_micro_batch_size_per_gpu,
            [shares],
        )
        for name, part in (("old", parts.rollout), ("ref", parts.ref))
    }
    if not actor.shuffle:
        budget = actor.ppo_max_token_len_per_gpu if actor.use_dynamic_bsz else None
        mini_batches = zip(*(share.split(mini_batch_rows // ranks) for share in shares), strict=True)
        forwards["update"] = budget, actor.ppo_micro_batch_size_per_gpu, list(mini_batches)
    elif not packed:
        del padding["cppo/padding/update"]
    fill = {}
    for name, (budget, size, batches) in forwards.items():
        if packed and budget is None:
            continue
        micro_batches = [rows for batch in batches for rows in _micro_batches(batch, budget, size)]
        times = actor.ppo_epochs if name == "update" else 1
        padding[f"cppo/padding/{name}"] = 0 if packed else times * _padding(micro_batches)
        if budget:
            fill[f"cppo/fill/{name}"] = lengths.sum().item() / (budget * len(micro_batches))
    return padding | fill


def _micro_batches(shares: tuple[torch.Tensor, ...], budget: int | None, size: int | None) -> list[torch.Tensor]:
    """The lengths of each micro-batch of every rank: by token budget, in equal number on all ranks, or by size."""
    if budget is None:
        return [batch for share in shares for batch in share.split(size)]
    number = max(-(-share.sum().item() // budget) for share in shares)
    while True:
        batches = [share[rows] for share in shares for rows in _balanced(share, number)]
        if all(batch.sum() <= budget for batch in batches):
            return batches
        number += 1


def _balanced(lengths: torch.Tensor, number: int) -> list[list[int]]:
    return get_seqlen_balanced_partitions(calculate_workload(lengths.long()).tolist(), number, equal_size=False)


def _padding(batches: list[torch.Tensor]) -> int:
    return sum((batch.max() * len(batch) - batch.sum()).item() for batch in batches)

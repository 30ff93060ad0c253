"""What CPPO costs the driver: everything that it does between the rewards of a step and its forwards.

    python -m cppo_verl.bench.driver [--completions 2048] [--prompt 512] [--response 1024] [--repeat 5]

No cluster is started. A step's other phases are measured by `cppo-verl bench`.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from omegaconf import OmegaConf
from ray import cloudpickle
from rich.table import Table
from verl import DataProto
from verl.utils.seqlen_balancing import calculate_workload, get_seqlen_balanced_partitions
from verl.workers.utils.padding import left_right_2_no_padding

from cppo_verl.algorithm.allocation import Allocation, Allocator
from cppo_verl.algorithm.metrics import step_metrics
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.step_plan import StepPlan
from cppo_verl.bench.core import median_ms
from cppo_verl.bench.forced import drawn_length
from cppo_verl.console import open_console
from cppo_verl.trainer.rows import row_advantages, sampled_rows, without_scores
from cppo_verl.trainer.stages import outcome_advantages

GROUP, RANKS = 16, 2
ADVANTAGE = OmegaConf.create(
    {
        "algorithm": {"adv_estimator": "grpo", "norm_adv_by_std_in_grpo": True},
        "actor_rollout_ref": {"rollout": {"n": GROUP}},
    }
)
"""What of a run's config the advantage reads."""
RATES = ("0", "0.5", "0.75", "0.875", "0.9375")


def sampled_batch(completions: int, prompt: int, response: int) -> DataProto:
    """Scored completions, padded as verl's agent loop returns them: prompts of a third of `prompt` tokens."""
    names = np.array([f"1:{i // GROUP}:{i % GROUP}" for i in range(completions)], dtype=object)
    lengths = torch.tensor([drawn_length(name, response) for name in names])
    mask = (torch.arange(response) < lengths[:, None]).long()
    prompt_mask = (torch.arange(prompt) >= prompt - prompt // 3).long().expand(completions, prompt)
    ids = torch.randint(0, 32_000, (completions, prompt + response))
    scores = torch.zeros(completions, response)
    scores[torch.arange(completions), lengths - 1] = torch.randint(0, 4, (completions,)).float()
    attention = torch.cat([prompt_mask, mask], dim=1)
    tensors = {
        "prompts": ids[:, :prompt],
        "responses": ids[:, prompt:],
        "input_ids": ids,
        "attention_mask": attention,
        "position_ids": (attention.cumsum(dim=1) - 1).clamp(min=0),
        "response_mask": mask,
        "token_level_scores": scores,
        "token_level_rewards": scores,
    }
    uids = np.array([name.rpartition(":")[0] for name in names], dtype=object)
    return DataProto.from_dict(tensors, non_tensors={"uid": uids, "row_id": names})


def stages(rate: str, batch: DataProto, repeat: int) -> dict[str, float]:
    """Milliseconds of each stage at P, median.

    Args:
        rate: P; with it, a step trains on (1 - P) times as many rows as it has sampled.
        batch: Of `sampled_batch`.
        repeat: Measurements.
    """
    cppo = CPPOConfig(rate)
    keep = int(GROUP * (1 - cppo.rate))
    rows = len(batch) // GROUP * keep
    plan = StepPlan(GROUP, keep, len(batch) // GROUP, rows, rows, RANKS)
    scored = outcome_advantages(batch, ADVANTAGE)

    def prune() -> Allocation:
        allocator, ids = Allocator(plan, cppo), scored.non_tensor_batch
        allocator.add(row_advantages(scored), ids["uid"], ids["row_id"])
        allocation = allocator.take()
        step_metrics(sampled_rows(scored), allocation.rows, rounds=1, surplus=0)
        return allocation

    allocation = prune()

    def gather() -> DataProto:
        trained = scored.select_idxs(allocation.rows)
        work = calculate_workload(trained.batch["attention_mask"].sum(dim=1)).tolist()
        shares = get_seqlen_balanced_partitions(work, RANKS, equal_size=True)
        trained.reorder(torch.tensor([row for share in shares for row in share]))
        return trained

    trained = gather()

    def send() -> bytes:
        return cloudpickle.dumps(left_right_2_no_padding(without_scores(trained).to_tensordict()))

    return {
        "advantage": median_ms(lambda: outcome_advantages(batch, ADVANTAGE), repeat),
        "prune + allocate": median_ms(prune, repeat),
        "select + balance": median_ms(gather, repeat),
        "pack + serialise, 3 times": 3 * median_ms(send, repeat),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, default=2048, help="sampled a step")
    parser.add_argument("--prompt", type=int, default=512, help="longest prompt, tokens")
    parser.add_argument("--response", type=int, default=1024, help="longest response, tokens")
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    if args.completions < GROUP or args.completions % GROUP:
        parser.error(f"--completions={args.completions} must be a multiple of {GROUP}, a group")
    batch = sampled_batch(args.completions, args.prompt, args.response)
    found = {rate: stages(rate, batch, args.repeat) for rate in RATES}
    table = Table(title=f"{args.completions:,} completions of {GROUP} a question: median of {args.repeat}, ms")
    table.add_column("P")
    for name in [*found[RATES[0]], "all"]:
        table.add_column(name, justify="right")
    for rate, times in found.items():
        table.add_row(rate, *(f"{ms:,.1f}" for ms in (*times.values(), sum(times.values()))))
    open_console().print(table)


if __name__ == "__main__":
    main()

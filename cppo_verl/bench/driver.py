"""What a V0 step costs the driver: all that it does itself, which no worker does meanwhile.

    python -m cppo_verl.bench.driver [--completions 2048] [--ranks 8] [--prompt 512] [--response 1024] [--repeat 5]

No cluster is started: the calls of workers are left out, but for what they are given and give back. A step's other
phases are measured by `cppo-verl bench`.
"""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import numpy as np
import torch
from omegaconf import OmegaConf
from ray import cloudpickle
from rich.table import Table
from verl import DataProto
from verl.trainer.ppo.ray_trainer import RayPPOTrainer
from verl.workers.utils.padding import left_right_2_no_padding, no_padding_2_padding

from cppo_verl.algorithm.allocation import Allocation, Allocator
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.step_plan import StepPlan
from cppo_verl.bench.core import median_ms
from cppo_verl.bench.forced import drawn_length
from cppo_verl.console import open_console
from cppo_verl.trainer.rollout_seed import SEED_KEY, question_seeds
from cppo_verl.trainer.rows import name_completions, name_questions, read_by_workers, row_advantages, together
from cppo_verl.trainer.sampling import sampling_metrics
from cppo_verl.trainer.stages import data_metrics, outcome_advantages, timing_metrics
from cppo_verl.trainer.v0.step import CPPOStep

GROUP = 16
ASKERS = 8
"""verl's agent loop workers."""
CONFIG = OmegaConf.create(
    {
        "algorithm": {"adv_estimator": "grpo", "norm_adv_by_std_in_grpo": True},
        "actor_rollout_ref": {"rollout": {"n": GROUP}},
        "trainer": {"balance_batch": True},
    }
)
"""What of a run's config these stages read."""
RATES = ("0", "0.5", "0.75", "0.875", "0.9375")
SECONDS = {"step": 1.0, "gen": 0.5, "ref": 0.1, "update_actor": 0.3}


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


def stages(rate: str, batch: DataProto, ranks: int, repeat: int) -> dict[str, float]:
    """Milliseconds of each stage at P, median.

    Args:
        rate: P; with it, a step trains on (1 - P) times as many rows as it has sampled.
        batch: Of `sampled_batch`.
        ranks: That the rows are balanced over.
        repeat: Measurements.
    """
    cppo = CPPOConfig(rate)
    keep = int(GROUP * (1 - cppo.rate))
    rows = len(batch) // GROUP * keep
    plan = StepPlan(GROUP, keep, len(batch) // GROUP, rows, rows, ranks)
    of_askers = [cloudpickle.dumps(part) for part in batch.chunk(min(ASKERS, plan.questions))]
    scored = outcome_advantages(batch, CONFIG)

    def prune() -> Allocation:
        allocator, ids = Allocator(plan, cppo), scored.non_tensor_batch
        allocator.add(row_advantages(scored), ids["uid"], ids["row_id"])
        return allocator.take()

    allocation = prune()
    trained = gather(scored, allocation, plan)

    def send() -> bytes:
        return cloudpickle.dumps(left_right_2_no_padding(read_by_workers(trained).to_tensordict()))

    answer = left_right_2_no_padding(trained.to_tensordict())
    of_ranks = cloudpickle.dumps(answer["position_ids"].float())

    def take_back() -> DataProto:
        column = no_padding_2_padding(cloudpickle.loads(of_ranks), answer).float()
        rows = DataProto(trained.batch.clone(recurse=False), trained.non_tensor_batch, trained.meta_info)
        return rows.union(DataProto.from_dict({"old_log_probs": column}))

    def describe() -> dict[str, float]:
        metrics = sampling_metrics(scored, allocation, rounds=1) | data_metrics(scored, trained, None)
        for _before_and_after_the_checkpoint in range(2):
            metrics |= timing_metrics(scored, trained, SECONDS, ranks)
        return metrics

    return {
        "ask": median_ms(lambda: requests(plan.questions), repeat),
        "receive": median_ms(lambda: DataProto.concat([cloudpickle.loads(part) for part in of_askers]), repeat),
        "advantage": median_ms(lambda: outcome_advantages(batch, CONFIG), repeat),
        "prune + allocate": median_ms(prune, repeat),
        "join rounds": median_ms(lambda: together([scored]), repeat),
        "select + balance": median_ms(lambda: gather(scored, allocation, plan), repeat),
        "pack + serialise, 3 times": 3 * median_ms(send, repeat),
        "take back, 2 times": 2 * median_ms(take_back, repeat),
        "metrics": median_ms(describe, repeat),
    }


def requests(questions: int) -> DataProto:
    """What the agent loops of a step are given, made beside the rows that their completions are put to."""
    ids = np.empty(1, dtype=object)
    ids[0] = [{"role": "user", "content": "How many?"}]
    asked = DataProto.concat([DataProto.from_single_dict({"raw_prompt": ids}) for _ in range(questions)])
    name_questions(asked, step=1, first=0)
    batch = asked.repeat(repeat_times=GROUP, interleave=True)
    name_completions(batch, GROUP)
    asked.non_tensor_batch[SEED_KEY] = question_seeds(0, asked.non_tensor_batch["uid"])
    return asked


def gather(scored: DataProto, allocation: Allocation, plan: StepPlan) -> DataProto:
    """The trainer's own stage, with verl's balancing, but for its workers."""
    workers = {"actor_rollout_wg": None, "_get_dp_size": lambda *_: plan.dp_size}
    trainer = SimpleNamespace(**workers, config=CONFIG, plan=plan, timing_raw={}, metrics={}, kept=())
    trainer._balance_batch = lambda rows, metrics: RayPPOTrainer._balance_batch(trainer, rows, metrics)
    return CPPOStep._gather(trainer, scored, allocation)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, default=2048, help="sampled a step")
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=512, help="longest prompt, tokens")
    parser.add_argument("--response", type=int, default=1024, help="longest response, tokens")
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    if args.completions < GROUP or args.completions % GROUP:
        parser.error(f"--completions={args.completions} must be a multiple of {GROUP}, a group")
    fewest = args.completions // GROUP * int(GROUP * (1 - CPPOConfig(RATES[-1]).rate))
    if args.ranks < 1 or fewest % args.ranks:
        parser.error(f"--ranks={args.ranks} must divide the {fewest} rows that P={RATES[-1]} keeps")
    batch = sampled_batch(args.completions, args.prompt, args.response)
    found = {rate: stages(rate, batch, args.ranks, args.repeat) for rate in RATES}
    table = Table(title=f"{args.completions:,} completions of {GROUP} a question: median of {args.repeat}, ms")
    table.add_column("P")
    for name in [*found[RATES[0]], "all"]:
        table.add_column(name, justify="right")
    for rate, times in found.items():
        table.add_row(rate, *(f"{ms:,.1f}" for ms in (*times.values(), sum(times.values()))))
    open_console().print(table)


if __name__ == "__main__":
    main()

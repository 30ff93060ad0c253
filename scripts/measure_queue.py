"""Measure what a completion costs in verl's TransferQueue, move by move, on the CPU: what V1 pays and V0 does not.

python scripts/measure_queue.py [--rounds 10] [--questions 8] [--n 16] [--tokens 24]

Made-up completions of short questions go through a real TransferQueue as those of a V1 step do: put by an agent loop,
one by one with all columns as verl's puts them, a question at a time, and all questions together, with the columns that
something reads; fetched by a worker for log-probs, which it puts back; fetched by the trainer, which puts two columns.
Times are medians over the rounds, of a client's call until it returns; the queue's own processes work meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from statistics import median

os.environ["VERL_PLATFORM"] = "cpu"
os.environ.setdefault("TQ_NUM_THREADS", "1")  # else it warns at each call that there are fewer cores than 8

import ray
import torch
import transfer_queue as tq
import verl.trainer.ppo.v1  # noqa: F401
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from transfer_queue import KVBatchMeta
from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput

from cppo_verl.config.compose import compose
from cppo_verl.trainer.v1.putting import Completions, Putter, columns_read, completions_of
from cppo_verl.trainer.v1.queue import TRAIN
from cppo_verl.trainer.v1.rows import FORWARDS_READ, columns_there

PROMPT = 32
"""Tokens of a question."""


def main() -> None:
    """Print the table."""
    args = _parse_args()
    config = compose(["recipe=toy", "device=cpu", "trainer.use_v1=true"])
    OmegaConf.resolve(config.transfer_queue)
    ray.init(address="local", num_cpus=4, include_dashboard=False, logging_level="error")
    tq.init(config.transfer_queue)
    try:
        rows = moves(args, columns_read(is_pruned=True))
    finally:
        tq.close()
        ray.shutdown()
    table = Table("move", "columns", "ms a completion", title=f"{args.questions} questions, G = {args.n}")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def moves(args: argparse.Namespace, read: frozenset[str]) -> list[tuple[str, str, str]]:
    """Rows of the table."""
    questions = [made_up(f"1:{position}", args) for position in range(args.questions)]
    keys = [key for question in questions for key in question.keys]
    everything, rows = frozenset(questions[0].rows[0]), []
    few, loop = everything & read, asyncio.new_event_loop()  # one for all puts, as a worker has

    def timed(move: str, columns: int, run: Callable[[], object], clears: bool = False) -> None:
        times = []
        for _ in range(1 + args.rounds):
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
            if clears:  # as a step's completions are
                tq.kv_clear(keys=keys, partition_id=TRAIN)
        rows.append((move, str(columns), f"{1000 * median(times[1:]) / len(keys):.2f}"))

    def put(move: str, puts: list[Completions], how: Callable[[list[Completions]], Awaitable[None]]) -> None:
        columns = len(puts[0].rows[0])
        timed(move, columns, lambda: loop.run_until_complete(how(puts)), clears=True)

    put("put, one by one", _one_by_one(questions), _in_turn)
    put("put, a question at a time", questions, _in_turn)
    questions = [_only(question, few) for question in questions]
    put("put, a question at a time, what is read", questions, _in_turn)
    put("put, together, what is read", questions, _at_once)

    loop.run_until_complete(_at_once(questions))
    batch = KVBatchMeta(partition_id=TRAIN, keys=keys, tags=[{}] * len(keys))
    columns, two = columns_there(batch, FORWARDS_READ), ["rm_scores", "rollout_log_probs"]
    timed("which columns are there", len(few), lambda: columns_there(batch, FORWARDS_READ))
    timed("fetch, all", len(few), lambda: tq.kv_batch_get(keys, TRAIN))
    timed("fetch, what a forward reads", len(columns), lambda: tq.kv_batch_get(keys, TRAIN, columns))
    timed("fetch, log-probs and entropy", 2, lambda: tq.kv_batch_get(keys, TRAIN, two))
    fetched = tq.kv_batch_get(keys, TRAIN, two)
    timed("put, log-probs and entropy", 2, lambda: tq.kv_batch_put(keys, TRAIN, fields=fetched))
    return rows


def made_up(uid: str, args: argparse.Namespace) -> Completions:
    """A question's completions with all columns that verl puts, of lengths around `--tokens`."""
    question = {
        "uid": uid,
        "global_steps": 1,
        "index": 0,
        "data_source": "made_up",
        "raw_prompt": [{"role": "user", "content": "How many are there now? " * 4}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "9"},
        "extra_info": {"split": "train", "index": 0, "answer": "9"},
        "tools_kwargs": {},
        "interaction_kwargs": {},
    }
    outputs = {sample: _output(args.tokens + sample % 7 - 3) for sample in range(args.n)}
    every = {*question, *outputs[0].as_dict(), "input_ids", "position_ids", "loss_mask"}
    return completions_of(question, outputs, every)


def _output(tokens: int) -> AgentLoopOutput:
    reported = {"acc": 1.0, "format": 1.0, "verify_failed": 0.0}
    return AgentLoopOutput(
        prompt_ids=list(range(PROMPT)),
        response_ids=list(range(tokens)),
        response_mask=[1] * tokens,
        response_logprobs=[0.0] * tokens,
        reward_score=1.0,
        num_turns=2,
        metrics=AgentLoopMetrics(),
        extra_fields={"reward_extra_info": reported, "min_global_steps": 1, "max_global_steps": 1},
    )


def _only(completions: Completions, columns: frozenset[str]) -> Completions:
    rows = [{name: value for name, value in row.items() if name in columns} for row in completions.rows]
    return completions._replace(rows=rows)


def _one_by_one(questions: list[Completions]) -> list[Completions]:
    return [Completions([k], [r], [t]) for of_one in questions for k, r, t in zip(*of_one, strict=True)]


async def _in_turn(puts: list[Completions]) -> None:
    for completions in puts:
        await Putter().put(completions)


async def _at_once(puts: list[Completions]) -> None:
    putter = Putter()
    await asyncio.gather(*(putter.put(completions) for completions in puts))


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--n", type=int, default=16, help="completions of each")
    parser.add_argument("--tokens", type=int, default=24, help="of a completion")
    return parser.parse_args()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

"""Completions per second that the agent loops, the load balancer and the rewards can pass on, without a model.

python -m cppo_verl.bench.ceiling [--workers 1 2 4 8] [--questions 64] [--rounds 3] [--out DIR] [key=value ...]

The engine is a stand-in that answers at once, with random tokens of drawn lengths, behind the same actors: verl's load
balancer, a server's actor, our agent loops, verl's reward workers. What is left is the ceiling that a run meets however
fast its engine is. Both ways are timed in turn: verl's, a completion at a time, and a question at a time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import ray
from omegaconf import DictConfig, OmegaConf
from verl import DataProto
from verl.experimental.reward_loop import RewardLoopManager
from verl.workers.rollout.llm_server import LLMServerClient
from verl.workers.rollout.replica import TokenOutput
from verl.workers.rollout.router import get_router_handle

from cppo_verl.bench.forced import drawn_length
from cppo_verl.bench.inputs import build_model
from cppo_verl.config.compose import compose
from cppo_verl.console import open_console
from cppo_verl.hardware.shapes import find_geometry
from cppo_verl.report import cells, show
from cppo_verl.trainer.group.requests import LOOP, ONE_BY_ONE
from cppo_verl.trainer.rollout_seed import SEED_KEY, question_seeds
from cppo_verl.trainer.v0.agent_loop import CPPOAgentLoopManager

G, RESPONSE = 16, 128
WAYS = {"a completion at a time (verl's)": ONE_BY_ONE, "a question at a time": LOOP}
"""Heading of a column to the agent loop."""


class AtOnce:
    """Stands for verl's server: each completion is drawn by its seed and there at once."""

    async def generate(self, prompt_ids: list[int], sampling_params: dict[str, Any], **_) -> TokenOutput:
        """As verl's."""
        return self._completion(sampling_params["seed"])

    async def generate_group(self, prompt_ids: list[int], sampling_params: Sequence[dict], *_, **__) -> list:
        """As `GroupServer`'s."""
        return [self._completion(params["seed"]) for params in sampling_params]

    def _completion(self, seed: int) -> TokenOutput:
        tokens = [5 + (seed + place) % 500 for place in range(drawn_length(str(seed), RESPONSE))]
        return TokenOutput(token_ids=tokens, extra_fields={"global_steps": 0})


def settings(folder: Path, workers: int, loop: str, overrides: Sequence[str]) -> DictConfig:
    """The config of what stands around the engine."""
    own = [
        f"actor_rollout_ref.model.path={folder}",
        f"actor_rollout_ref.rollout.n={G}",
        f"actor_rollout_ref.rollout.response_length={RESPONSE}",
        f"actor_rollout_ref.rollout.agent.num_workers={workers}",
        f"actor_rollout_ref.rollout.agent.default_agent_loop={loop}",
        "reward.custom_reward_function.path=pkg://cppo_verl.bench.forced",
    ]
    config = compose(["recipe=toy", "device=cpu", *own, *overrides])
    OmegaConf.resolve(config)  # Ray's processes do not know our resolvers
    return config


def asked(questions: int, first: int) -> DataProto:
    """Questions as a step asks them."""
    columns = {
        "raw_prompt": [[{"role": "user", "content": f"How many are {n} and {n}?"}] for n in range(questions)],
        "data_source": ["bench"] * questions,
        "reward_model": [{"style": "rule", "ground_truth": str(number)} for number in range(questions)],
        "extra_info": [{"index": number} for number in range(questions)],
        "index": list(range(questions)),
        "uid": [f"{first}:{number}" for number in range(questions)],
    }
    arrays = {name: np.empty(questions, dtype=object) for name in columns}
    for name, array in arrays.items():
        array[:] = columns[name]
    arrays[SEED_KEY] = question_seeds(0, columns["uid"])
    return DataProto(batch=None, non_tensor_batch=arrays, meta_info={"global_steps": first})


def started(config: DictConfig) -> CPPOAgentLoopManager:
    """The actors of a run's sampling around the stand-in."""
    server = ray.remote(AtOnce).options(max_concurrency=1000, num_cpus=0).remote()
    client = LLMServerClient(config, get_router_handle(servers={"at once": server}))
    scorers = RewardLoopManager(config).reward_loop_worker_handles
    return CPPOAgentLoopManager.create(config, client, None, scorers)


def completions_per_second(manager: CPPOAgentLoopManager, questions: int, rounds: int) -> list[float]:
    """Of each round, after one that starts everything."""
    found = []
    for number in range(rounds + 1):
        batch, start = asked(questions, number), time.perf_counter()
        rows = manager.generate_questions(batch, G)
        found.append(len(rows) / (time.perf_counter() - start))
    return found[1:]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="options of the run")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8], help="agent loops' processes")
    parser.add_argument("--questions", type=int, default=64, help=f"asked at a time, {G} completions each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder for ceiling.csv; by default none is written")
    args = parser.parse_args(argv)
    if min(*args.workers, args.questions, args.rounds) < 1:
        parser.error("--workers, --questions and --rounds must be at least 1")
    table = measure(args)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        table.to_csv(args.out / "ceiling.csv", index=False)
    asked_at_a_time = f"{args.questions} questions of {G} at a time"
    title = f"completions per second, {asked_at_a_time}: median of {args.rounds} rounds"
    open_console().print(show.terminal(shown(table), title))


def measure(args: argparse.Namespace) -> pd.DataFrame:
    """A row a number of agent loops: completions per second each way, and their `ratio`."""
    rows = []
    with TemporaryDirectory() as folder:
        build_model(Path(folder), {**find_geometry("small").shape, "num_hidden_layers": 1}, "float32")
        for workers in args.workers:
            rates = {way: measured(Path(folder), workers, loop, args) for way, loop in WAYS.items()}
            theirs, ours = rates.values()
            rows.append({"agent loops": workers, **rates, "ratio": ours / theirs})
    return pd.DataFrame(rows)


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table for people."""
    return table.map("{:,.0f}".format).assign(ratio=table["ratio"].map(cells.times))


def measured(folder: Path, workers: int, loop: str, args: argparse.Namespace) -> float:
    """Median completions per second of one way, on actors of its own."""
    config = settings(folder, workers, loop, args.overrides)
    env_vars = dict(config.ray_kwargs.ray_init.runtime_env.env_vars)
    ray.init(num_cpus=workers + config.reward.num_workers + 4, runtime_env={"env_vars": env_vars}, log_to_driver=False)
    try:
        return statistics.median(completions_per_second(started(config), args.questions, args.rounds))
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()

"""V0's step without a cluster: the trainer's own, with stand-ins for the agent loops, the engine and the workers.

The stand-ins get what the trainer sends them in bytes, and answer in bytes, as over Ray; what they do themselves is
done before it is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from ray import cloudpickle
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput
from verl.protocol import BatchData
from verl.utils import tensordict_utils as tu

from cppo_verl.algorithm.metrics import Outcomes
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.bench.forced import compute_score, drawn_length
from cppo_verl.preflight.plan import plan_from_config
from cppo_verl.trainer.v0.agent_loop import CPPOAgentLoopManager, CPPOAgentLoopWorker
from cppo_verl.trainer.v0.step import CPPOStep

STAGES = {
    "_sample_round": "ask + receive",
    "_compute_advantage": "advantage",
    "_sample_and_prune": "prune + allocate",
    "_gather": "gather + balance",
    "_fit_compute_log_prob": "old log-probs",
    "_fit_compute_ref_log_prob": "reference",
    "_fit_update_actor": "update",
    "fit_step": "metrics",
}
"""Method of the step to what it is called; one that another calls is not counted in that one."""


class CpuTimes(dict[str, float]):
    """Seconds that this process has had of its CPUs, by stage; a stage within another counts for itself alone."""

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count what is done within."""
        start, inner = time.process_time(), sum(self.values())
        yield
        spent = time.process_time() - start - (sum(self.values()) - inner)
        self[stage] += spent


def counted(stage: str, method: Callable) -> Callable:
    """A method of the step whose CPU time is counted in `step.cpu`."""

    @wraps(method)
    def within(step: LoneStep, *args, **kwargs) -> Any:
        with step.cpu.of(stage):
            return method(step, *args, **kwargs)

    return within


class LoneStep(CPPOStep):
    """A step of a run, again and again, that counts its CPU time by stage.

    Args:
        config: The run's.
    """

    def __init__(self, config: DictConfig):
        rollout, self.config = config.actor_rollout_ref.rollout, config
        self.cppo, self.plan = CPPOConfig.from_mapping(config.cppo), plan_from_config(config)
        self.use_rm = self.use_critic = self.ref_in_actor = False
        self.use_reference_policy, self.train_dataset, self.reward_tensor = True, range(self.plan.questions), None
        self.curr_step_profile = self.prev_step_profile = self.next_step_profile = False
        self.max_steps_duration, self.last_val_metrics, self.total_training_steps = 0, None, 2
        self.outcomes = Outcomes()
        self.async_rollout_manager = manager = object.__new__(CPPOAgentLoopManager)
        manager.rollout_config = rollout
        manager.agent_loop_workers = [agent_loop(config) for _ in range(rollout.agent.num_workers)]
        self.actor_rollout_wg = self.ref_policy_wg = Ranks(self.plan.dp_size)
        self._get_dp_size = lambda *_: self.plan.dp_size
        self.checkpoint_manager = SimpleNamespace(sleep_replicas=lambda: None, update_weights=lambda _: None)
        self.resource_pool_manager = SimpleNamespace(get_n_gpus=lambda: self.plan.dp_size)
        self.logger = SimpleNamespace(log=lambda data, step: None)
        self.progress_bar = SimpleNamespace(update=lambda steps: None)

    def times(self) -> CpuTimes:
        """CPU seconds of a step by stage."""
        self.global_steps, self.cpu = 1, CpuTimes(dict.fromkeys(STAGES.values(), 0.0))
        self.fit_step(Questions())
        return self.cpu


for _method, _stage in STAGES.items():
    setattr(LoneStep, _method, counted(_stage, getattr(CPPOStep, _method)))


class Questions:
    """Stands for the run's `QuestionStream`, which fetches a step's questions while the one before trains."""

    epoch = 0

    def begin_step(self) -> None:
        """They are there."""

    def peek(self, count: int) -> list[dict[str, Any]]:
        """So many questions."""
        return [self._question(number) for number in range(count)]

    def take(self, count: int) -> None:
        """None is used up."""

    def prefetch(self) -> None:
        """The next step's are there too."""

    def _question(self, number: int) -> dict[str, Any]:
        columns = {
            "raw_prompt": [{"role": "user", "content": "How many?"}],
            "data_source": "bench",
            "reward_model": {"style": "rule", "ground_truth": str(number)},
            "extra_info": {"index": number},
            "index": number,
        }
        arrays = {name: np.empty(1, dtype=object) for name in columns}
        for name, array in arrays.items():
            array[0] = columns[name]
        return arrays | {"dummy_tensor": torch.zeros(1, 1, dtype=torch.uint8)}  # as verl's data set


class Answered:
    """Stands for a call of a remote function: what it gave the first time, it gives again; each way in bytes."""

    def __init__(self, call: Callable):
        self.call, self.given = call, b""

    def __call__(self, *args) -> Any:
        sent = cloudpickle.dumps(args)
        self.given = self.given or cloudpickle.dumps(self.call(*cloudpickle.loads(sent)))
        return cloudpickle.loads(self.given)


def agent_loop(config: DictConfig) -> SimpleNamespace:
    """Stands for the actor of one of V0's agent loops: our worker, with completions of drawn lengths and rewards."""
    worker, rollout = object.__new__(CPPOAgentLoopWorker), config.actor_rollout_ref.rollout
    worker.config, worker.rollout_config = config, rollout
    worker.tokenizer, worker.reward_loop_worker_handles = SimpleNamespace(pad_token_id=0), ["one"]

    async def answer(question: dict[str, Any], params: dict, n: int, seed: int | None) -> list[AgentLoopOutput]:
        return [completion(f"{question['uid']}:{sample}", question, rollout) for sample in range(n)]

    worker.answer, worker.goes_together = answer, lambda *_: True
    given = Answered(lambda *args: asyncio.run(worker.generate_questions(*args)))

    async def remote(*args) -> DataProto:
        return await asyncio.to_thread(given, *args)

    return SimpleNamespace(generate_questions=SimpleNamespace(remote=remote))


def completion(name: str, question: dict[str, Any], rollout: DictConfig) -> AgentLoopOutput:
    """Of a prompt of a third of the longest."""
    length = drawn_length(name, rollout.response_length)
    score = compute_score("bench", name, question["reward_model"]["ground_truth"])
    return AgentLoopOutput(
        prompt_ids=[5] * (rollout.prompt_length // 3),
        response_ids=[7 + place % 500 for place in range(length)],
        response_mask=[1] * length,
        response_logprobs=[-0.5] * length if rollout.calculate_log_probs else None,
        reward_score=score["score"],
        num_turns=2,
        metrics=AgentLoopMetrics(generate_sequences=length / 100, compute_score=0.01),
        extra_fields={"reward_extra_info": score, "min_global_steps": 1, "max_global_steps": 1, "turn_scores": []},
    )


class Ranks:
    """Stands for a group of workers, each of which gets its part of the rows, as verl splits them.

    Args:
        size: Data-parallel ranks.
    """

    def __init__(self, size: int):
        self.size = size
        self._log_probs = [Answered(log_probs) for _ in range(size)]
        self._updates = [Answered(update) for _ in range(size)]

    def compute_log_prob(self, rows: Any) -> Any:
        """The policy's, and their entropy."""
        return self._asked(self._log_probs, rows)

    compute_ref_log_prob = compute_log_prob

    def update_actor(self, rows: Any) -> Any:
        """The metrics of an update."""
        return self._asked(self._updates, rows)

    def execute_with_func_generator(self, function: Callable) -> DataProto:
        """What `padding` counts."""
        return DataProto.from_dict({"counts": torch.ones(self.size, 2)})

    def _asked(self, ranks: list[Answered], rows: Any) -> Any:
        parts = BatchData(rows).chunk(chunks=self.size)
        return BatchData([rank(part) for rank, part in zip(ranks, parts, strict=True)]).concat()


def log_probs(rows: Any) -> Any:
    """A number for each token of prompt and response."""
    column = rows["input_ids"].float()
    return tu.get_tensordict({"log_probs": column, "entropy": column}, {"metrics": {"mfu": 0.0}})


def update(rows: Any) -> Any:
    """What verl's actor reports of an update."""
    told = {name: [0.5] for name in ("pg_loss", "pg_clipfrac", "ppo_kl", "grad_norm", "loss", "kl_loss", "lr")}
    return tu.get_tensordict({}, {"metrics": {**told, "mfu": 0.0}})

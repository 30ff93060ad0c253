"""verl's agent-loop workers of a small run, in this process: the engine and the ways to it are stand-ins."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from omegaconf import DictConfig
from verl import DataProto
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
from verl.workers.rollout.llm_server import LLMServerClient
from verl.workers.rollout.replica import TokenOutput

from cppo_verl.bench.inputs import build_model

SHAPE = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 640,
    "max_position_embeddings": 256,
}


def small_config(compose: Callable[..., DictConfig], folder: Path, *overrides: str) -> DictConfig:
    """Of a run with a small model and a reward by chance."""
    build_model(folder / "model", SHAPE, "float32")
    return compose(
        "recipe=toy",
        f"actor_rollout_ref.model.path={folder}/model",
        "reward.custom_reward_function.path=pkg://cppo_verl.bench.forced",
        "actor_rollout_ref.rollout.prompt_length=40",
        "actor_rollout_ref.rollout.response_length=12",
        "actor_rollout_ref.rollout.calculate_log_probs=true",
        *overrides,
    )


class Engine:
    """Stands for verl's server: a request's tokens follow from its prompt and seed; it notes what it is asked."""

    def __init__(self):
        self.requests: list[dict] = []
        self.groups: list[int] = []
        self.generate = SimpleNamespace(remote=self._generate)
        self.generate_group = SimpleNamespace(remote=self._generate_group)

    async def _generate(self, request_id: str, prompt_ids: list[int], sampling_params: dict, **_) -> TokenOutput:
        self.requests.append({"prompt": prompt_ids, **sampling_params})
        rng = np.random.default_rng([sampling_params["seed"], *prompt_ids])
        tokens = rng.integers(5, 600, size=rng.integers(1, 15)).tolist()  # some longer than may be
        fields = {"global_steps": 3, "num_cached_tokens": 0}
        return TokenOutput(token_ids=tokens, log_probs=[-t / 600 for t in tokens], num_preempted=0, extra_fields=fields)

    async def _generate_group(self, prompt_ids, sampling_params, request_id, **_) -> list[TokenOutput]:
        self.groups.append(len(sampling_params))
        return [await self._generate(request_id, prompt_ids, params) for params in sampling_params]


def client_of(engine: Engine) -> LLMServerClient:
    """verl's client, of a load balancer with this engine alone."""
    answer = lambda value: SimpleNamespace(remote=lambda **_: asyncio.sleep(0, value))  # noqa: E731
    balancer = SimpleNamespace(
        require_acquire_fields=answer([]),
        require_release_fields=answer([]),
        acquire_server=answer(("server", engine)),
        release_server=SimpleNamespace(remote=lambda **_: None),
    )
    return LLMServerClient(_plain, balancer)


_plain = SimpleNamespace(
    actor_rollout_ref=SimpleNamespace(rollout=SimpleNamespace(name="vllm", full_determinism=False))
)


class Scorer:
    """verl's reward worker, asked as an actor is; it notes how many completions it is given at a time."""

    def __init__(self, config: DictConfig):
        worker, self.given = RewardLoopWorker(config), []

        def noted(method):
            async def call(data):
                self.given.append(len(data))
                return await method(copy.deepcopy(data))  # Ray sends a copy

            return SimpleNamespace(remote=call)

        self.compute_score = noted(worker.compute_score)
        self.compute_score_batch = noted(worker.compute_score_batch)


def question(number: int, text: str = "How many are left?") -> dict[str, Any]:
    """The columns of one, as verl's dataset gives them."""
    return {
        "raw_prompt": [{"role": "user", "content": f"{text} {number}"}],
        "data_source": "test",
        "reward_model": {"style": "rule", "ground_truth": str(number)},
        "extra_info": {"index": number},
        "index": number,
        "uid": f"1:{number}",
    }


def batch(questions: list[dict[str, Any]]) -> DataProto:
    """The questions in rows."""
    columns = {name: np.empty(len(questions), dtype=object) for name in questions[0]}
    for name, column in columns.items():
        column[:] = [of[name] for of in questions]
    return DataProto(batch=None, non_tensor_batch=columns, meta_info={"global_steps": 1})

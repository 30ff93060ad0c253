"""verl's agent-loop workers, which sample and score a question's completions together."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import hydra
import numpy as np
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import (
    AgentLoopOutput,
    AgentLoopWorker,
    DictConfigWrap,
    ToolListWrap,
    _agent_loop_registry,
)
from verl.utils.profiler import simple_timer

from cppo_verl.trainer.group.loop import QuestionLoop
from cppo_verl.trainer.group.requests import sampled_together
from cppo_verl.trainer.group.tensors import rows_to_score
from cppo_verl.trainer.reported import kept_apart
from cppo_verl.trainer.reward_limit import LimitedRewards


class GroupWorker(LimitedRewards, AgentLoopWorker):
    """A part of CPPO's agent-loop workers, V0's and V1's."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.engines = self.llm_client

    def goes_together(self, agent_names: Iterable[str], n: int) -> bool:
        """Whether questions' completions are sampled together.

        Args:
            agent_names: Of the questions, where the data name them.
            n: Completions of each.

        Returns:
            True for several completions of text by the run's own loop, if it is one of questions, and by an engine that
            can.
        """
        default = self.rollout_config.agent.default_agent_loop
        return (
            n > 1
            and self.processor is None
            and self.reward_loop_worker_handles is not None
            and set(agent_names) <= {default}
            and sampled_together(self.config)
            and issubclass(self._loop, QuestionLoop)
        )

    @property
    def is_of_one_turn(self) -> bool:
        """Whether the run's loop of questions answers as ours does, so that lengths say what the masks are."""
        return all(getattr(self._loop, name) is getattr(QuestionLoop, name) for name in ("run_question", "_output"))

    @property
    def _loop(self) -> type:
        return hydra.utils.get_class(_agent_loop_registry[self.rollout_config.agent.default_agent_loop]["_target_"])

    def sampling_params(self) -> dict[str, Any]:
        """Of every completion that is trained on, as verl's workers make them of the config."""
        rollout = self.rollout_config
        return {
            "temperature": rollout.temperature,
            "top_p": rollout.top_p,
            "top_k": rollout.top_k,
            "repetition_penalty": 1.0,
            "logprobs": rollout.calculate_log_probs,
        }

    async def answer(
        self, question: dict[str, Any], sampling_params: dict[str, Any], n: int, seed: int | None
    ) -> list[AgentLoopOutput]:
        """Sample and score a question's completions.

        Args:
            question: The question's columns.
            sampling_params: Of every completion.
            n: Completions.
            seed: The question's, see `QuestionLoop.run_question`.

        Raises:
            ValueError: The loop gave another number of completions.
        """
        outputs = await self._question_loop.run_question(self.engines, sampling_params, n, seed, **question)
        if len(outputs) != n:
            loop = self.rollout_config.agent.default_agent_loop
            raise ValueError(f"the agent loop {loop} gave {len(outputs)} completions for a question, not {n}")
        await self._score_group(outputs, question)
        return outputs

    @cached_property
    def _question_loop(self) -> QuestionLoop:
        return hydra.utils.instantiate(
            _agent_loop_registry[self.rollout_config.agent.default_agent_loop],
            trainer_config=DictConfigWrap(self.config),
            server_manager=self.llm_client,
            tokenizer=self.tokenizer,
            processor=self.processor,
            hf_model_type=self.hf_model_type,
            dataset_cls=self.dataset_cls,
            data_config=DictConfigWrap(self.config.data),
            tools=ToolListWrap(self.tools),
        )

    async def _score_group(self, outputs: Sequence[AgentLoopOutput], question: Mapping[str, Any]) -> None:
        """verl's `_compute_score` of each, in one call of one reward worker.

        Raises:
            RewardHung: As for one.
        """
        timing: dict[str, float] = {}
        with simple_timer("compute_score", timing):
            scorer = random.choice(self.reward_loop_worker_handles)
            scores = scorer.compute_score_batch.remote(_to_score(outputs, question))
            results = await self.within_limit(asyncio.ensure_future(scores), outputs[-1])
        for output, result in zip(outputs, results, strict=True):
            output.reward_score = result["reward_score"]
            output.extra_fields["reward_extra_info"] = kept_apart(result["reward_extra_info"], question)
            output.metrics.compute_score = timing["compute_score"]


def _to_score(outputs: Sequence[AgentLoopOutput], question: Mapping[str, Any]) -> DataProto:
    """What verl gives a reward manager of one completion, of each of these. Columns that a reward may write to
    (`extra_info`) are each row's own."""
    number = len(outputs)
    own = {name: np.array([copy.deepcopy(value) for _ in range(number)]) for name, value in question.items()}
    columns = {
        **own,
        "__num_turns__": np.array([output.num_turns for output in outputs]),
        "tool_extra_fields": np.array([output.extra_fields for output in outputs], dtype=object),
        "prompt_len": np.array([len(output.prompt_ids) for output in outputs]),
        "response_len": np.array([len(output.response_ids) for output in outputs]),
    }
    return DataProto(rows_to_score(outputs), columns)

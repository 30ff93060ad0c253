"""The agent loop of questions of one turn, which samples a question's completions together."""

from __future__ import annotations

from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
from verl.utils.profiler import simple_timer
from verl.workers.rollout.llm_server import LLMServerClient
from verl.workers.rollout.replica import TokenOutput

from cppo_verl.trainer.group.client import generate_group
from cppo_verl.trainer.group.requests import of_samples
from cppo_verl.trainer.group.scored import ONE_TURN


class QuestionLoop(SingleTurnAgentLoop):
    """verl's loop, whose `run` makes one completion, with `run_question`, which makes all of a question's."""

    async def run_question(
        self,
        client: LLMServerClient,
        sampling_params: dict[str, Any],
        n: int,
        seed: int | None,
        priority: int = 0,
        **question,
    ) -> list[AgentLoopOutput]:
        """What `run` would give for each of a question's completions, in their order.

        Args:
            client: Of the engines.
            sampling_params: Of every completion.
            n: Completions, G.
            seed: The question's; completion j has the seed plus j. None for none.
            priority: For the engine's scheduler.
            question: The question's columns; `raw_prompt` is read.
        """
        prompt_ids = await self.ct_build_initial_tokens(list(question["raw_prompt"]))
        metrics: dict[str, Any] = {}
        with simple_timer("generate_sequences", metrics):
            requests = self.requests(of_samples(sampling_params, n, seed), **question)
            sampled = await generate_group(client, prompt_ids, requests, int(priority))
        return [self._output(prompt_ids, one, metrics) for one in sampled]

    def requests(self, sampling_params: list[dict[str, Any]], **question) -> list[dict[str, Any]]:
        """The parameters of a question's completions, from those that the run's config gives them."""
        return sampling_params

    def _output(self, prompt_ids: list[int], sampled: TokenOutput, metrics: dict[str, Any]) -> AgentLoopOutput:
        """As in verl's `run`: the model's end of turn may move the border between prompt and response."""
        builder, log_probs = self.continuous_token_builder, sampled.log_probs or None
        merged = builder.merge_assistant_tokens(prompt_ids, sampled.token_ids)
        mask, log_probs = builder.align_response_metadata(
            merged, [], None if log_probs is None else [], assistant_logprobs=log_probs
        )
        border, longest = len(merged.token_ids) - len(mask), self.response_length
        preempted = -1 if sampled.num_preempted is None else sampled.num_preempted
        return AgentLoopOutput(
            prompt_ids=merged.token_ids[:border],
            response_ids=merged.token_ids[border:][:longest],
            response_mask=mask[:longest],
            response_logprobs=log_probs[:longest] if log_probs else None,
            routed_experts=None,
            multi_modal_data={},
            mm_processor_kwargs=self._get_mm_processor_kwargs(),
            mm_processor_output=None,
            num_turns=ONE_TURN,
            metrics=AgentLoopMetrics(**metrics, num_preempted=preempted),
            extra_fields={**sampled.extra_fields, "turn_scores": [], "tool_rewards": []},
        )

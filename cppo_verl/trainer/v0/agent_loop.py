"""verl's agent loop, which samples and scores, by the question: with a seed for each completion, a limit to the wait
for rewards, and what rewards report kept apart from other columns.

Named by `actor_rollout_ref.rollout.agent.agent_loop_manager_class`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from verl import DataProto
from verl.experimental.agent_loop import AgentLoopManager, AgentLoopOutput
from verl.utils.ray_utils import auto_await
from verl.utils.skip import SkipManager

from cppo_verl.algorithm.rule import PruningRule
from cppo_verl.trainer.group.pruned import score_and_prune
from cppo_verl.trainer.group.scored import ONE_TURN, SCORED, ScoredGroup, scored_rows
from cppo_verl.trainer.group.tensors import padded_rows
from cppo_verl.trainer.group.worker import GroupWorker
from cppo_verl.trainer.openings import OpenedTurns
from cppo_verl.trainer.reported import ReportedApart
from cppo_verl.trainer.rollout_seed import SEED_KEY, SeededTurns
from cppo_verl.trainer.rows import row_id


class CPPOAgentLoopWorker(OpenedTurns, ReportedApart, SeededTurns, GroupWorker):
    """verl's V0 worker; a row's seed, where it has one, goes to the engine as the request's."""

    async def generate_questions(self, questions: DataProto, n: int, rule: PruningRule | None = None) -> DataProto:
        """What `generate_sequences` gives of n rows of each question.

        Args:
            questions: A row each; `SEED_KEY`, where it is there, is the question's seed.
            n: Completions of each.
            rule: By which they are pruned here, where they are sampled together.

        Returns:
            All rows. Those that are kept, with their `row_id`, where they were pruned: then `SCORED` in `meta_info` is
            what is told of each question.
        """
        columns = dict(questions.non_tensor_batch)
        if not self.goes_together(columns.pop("agent_name", ()), n):
            return await self.generate_sequences(as_rows(questions, n))
        seeds = columns.pop(SEED_KEY, None)
        seeds = [None] * len(questions) if seeds is None else seeds.tolist()
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        params, each = self.sampling_params(), zip(rows, seeds, strict=True)
        answers = await asyncio.gather(*(self.answer(question, params, n, seed) for question, seed in each))
        for prompt, of_question in zip(columns["raw_prompt"], answers, strict=True):
            for output in of_question:
                output.extra_fields["raw_prompt"] = prompt
        if rule is not None and self.is_of_one_turn:
            return self._pruned(columns["uid"], answers, rule)
        return self._rows([output for of_question in answers for output in of_question])

    def _pruned(self, uids: Sequence[str], answers: list[list[AgentLoopOutput]], rule: PruningRule) -> DataProto:
        """Rows of what is kept; of one completion where nothing is, because a batch without rows cannot be sent."""
        groups, sent = [], {}
        for uid, outputs in zip(uids, answers, strict=True):
            scored, kept = score_and_prune(uid, outputs, rule, self.config)
            groups.append(scored)
            sent |= {row_id(uid, sample): output for sample, output in kept.items()}
        sent = sent or {row_id(uids[0], 0): answers[0][0]}
        rows = self._rows(list(sent.values()))
        rows.non_tensor_batch["row_id"] = np.array(list(sent), dtype=object)
        metrics = [output.metrics.model_dump() for outputs in answers for output in outputs]
        rows.meta_info |= {"metrics": metrics, SCORED: groups}
        return rows

    def _rows(self, outputs: list[AgentLoopOutput]) -> DataProto:
        rollout, pad = self.rollout_config, self.tokenizer.pad_token_id
        return self._postprocess(padded_rows(outputs, rollout.prompt_length, rollout.response_length, pad))

    async def _run_agent_loop(self, sampling_params: dict[str, Any], trajectory: dict[str, Any], **kwargs):
        seed = kwargs.pop(SEED_KEY, None)
        if seed is not None:
            sampling_params = {**sampling_params, "seed": int(seed)}
        return await super()._run_agent_loop(sampling_params, trajectory, **kwargs)


class CPPOAgentLoopManager(AgentLoopManager):
    """verl's V0 manager with the worker above."""

    def __init__(self, *args, **kwargs):
        self.agent_loop_workers_class = ray.remote(CPPOAgentLoopWorker)
        super().__init__(*args, **kwargs)

    @auto_await
    @SkipManager.annotate(role="rollout")
    async def generate_questions(self, questions: DataProto, n: int, rule: PruningRule | None = None) -> DataProto:
        """verl's `generate_sequences` of n rows of each question, which its workers are given as questions.

        Args:
            questions: A row each.
            n: Completions of each.
            rule: By which workers prune them, if they sample them together.

        Returns:
            Rows in the order of the questions, a question's together; verl's times are in `meta_info`. Where they were
            pruned, rows of what is kept, and as `SCORED` in `meta_info` those of all completions, without tokens.
        """
        if "agent_name" in questions.non_tensor_batch:  # some may be of a loop that asks one by one: all rows or none
            rule = None
        questions.non_tensor_batch["priority"] = n * np.arange(len(questions), dtype=np.int64)
        borders = np.linspace(0, len(questions), len(self.agent_loop_workers) + 1).round().astype(int)
        parts = [questions[start:end] for start, end in itertools.pairwise(borders) if end > start]
        workers = self.agent_loop_workers[: len(parts)]
        outputs = await asyncio.gather(
            *(worker.generate_questions.remote(part, n, rule) for worker, part in zip(workers, parts, strict=True))
        )
        groups = [group for part in outputs for group in part.meta_info.pop(SCORED, ())]
        output = DataProto.concat(outputs)
        metrics = [part.meta_info.pop("metrics") for part in outputs]
        output.meta_info = outputs[0].meta_info
        rows = self._without_tokens(groups) if groups else output
        if groups:
            output.meta_info[SCORED] = rows
        output.meta_info["timing"] = self._performance_metrics(metrics, rows)
        return output

    def _without_tokens(self, groups: list[ScoredGroup]) -> DataProto:
        """Rows of all completions, with what verl's trainer and its metrics read of them."""
        rows = scored_rows(groups, self.rollout_config.prompt_length, self.rollout_config.response_length)
        rows.batch["rm_scores"] = rows.batch["token_level_scores"]
        rows.non_tensor_batch["__num_turns__"] = np.full(len(rows), ONE_TURN, dtype=np.int32)
        return rows


def as_rows(questions: DataProto, n: int) -> DataProto:
    """n rows of each question, with seeds and priorities that follow on from the question's."""
    rows = questions.repeat(n, interleave=True)
    for name in {SEED_KEY, "priority"} & rows.non_tensor_batch.keys():
        rows.non_tensor_batch[name] = rows.non_tensor_batch[name] + np.tile(np.arange(n), len(questions))
    return rows

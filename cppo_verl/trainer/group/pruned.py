"""Questions that are pruned where they were sampled: only the k completions that are kept travel with their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from omegaconf import DictConfig, OmegaConf
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput

from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.rule import PruningRule
from cppo_verl.algorithm.step_plan import StepPlan
from cppo_verl.trainer.group.scored import ScoredGroup, rewarded_rows
from cppo_verl.trainer.rows import row_advantages
from cppo_verl.trainer.stages import outcome_advantages

READS_ALL = ("critic.enable", "trainer.rollout_data_dir", "skip.rollout.enable", "skip.rollout_tq.enable")
"""Options of what reads the tokens of all G completions: a critic, dumps, and replays of a rollout."""


def rule_where_sampled(config: DictConfig, cppo: CPPOConfig, plan: StepPlan) -> PruningRule | None:
    """The rule by which agent-loop workers prune the questions that they sample together; they are told it with the
    questions, because runs with other rules may share a worker.

    None where all completions are to be sent: where they compete over a batch, and where something reads all of them.
    GRPO's rule keeps all.
    """
    if cppo.scope != "question" or any(OmegaConf.select(config, option) for option in READS_ALL):
        return None
    return PruningRule.of(cppo, plan.keep)


def tagged(rule: PruningRule, config: DictConfig) -> dict[str, Any]:
    """All that decides what is kept of a question, as plain values: a run that goes on under another asks anew."""
    return asdict(rule) | {"n": config.actor_rollout_ref.rollout.n, "adv_estimator": config.algorithm.adv_estimator}


def score_and_prune(
    uid: str, outputs: Sequence[AgentLoopOutput], rule: PruningRule, config: DictConfig
) -> tuple[ScoredGroup, dict[int, AgentLoopOutput]]:
    """What is told of all of a question's completions, and by sample those that are kept.

    They are those that the trainer's `Allocator` keeps, which sees the same rewards: an advantage is of the question
    alone, and so is what `scope=question` keeps.
    """
    scored = ScoredGroup.of(uid, outputs)
    return scored, {sample: outputs[sample] for sample in kept_samples(scored, rule, config)}


def kept_samples(scored: ScoredGroup, rule: PruningRule, config: DictConfig) -> list[int]:
    """The samples of a question that are kept, ascending; all where a reward is not finite: the trainer refuses it."""
    widths = max(scored.prompt_tokens), max(1, *scored.response_tokens)
    rows = outcome_advantages(rewarded_rows([scored], *widths), config)
    advantages, names = row_advantages(rows), rows.non_tensor_batch
    if not advantages.isfinite().all():
        return list(range(len(advantages)))
    return rule.kept(advantages, names["uid"], names["row_id"]).tolist()

"""The requests of a question's completions, as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

LOOP = "question"
"""`rollout.agent.default_agent_loop`: questions of one turn, whose completions are asked for together."""
ONE_BY_ONE = "single_turn_agent"
"""verl's own loop of questions of one turn, which asks for each completion by itself."""


def sampled_together(config: DictConfig) -> bool:
    """Whether a run's engines and trainer can have a question's completions asked for together.

    Not with another engine than vLLM, whose server alone is ours, nor where verl asks for more than tokens and
    log-probs: prefill and decode apart, routed experts, a teacher, speculation, its own deterministic requests, a trace
    of each completion.
    """
    rollout = config.actor_rollout_ref.rollout
    mtp = config.actor_rollout_ref.model.get("mtp") or {}
    return rollout.name == "vllm" and not (
        rollout.get("disaggregation", {}).get("enabled")
        or rollout.get("enable_rollout_routing_replay")
        or rollout.get("full_determinism")
        or rollout.get("trace", {}).get("backend")
        or (mtp.get("enable") and mtp.get("enable_rollout"))
        or (config.get("distillation") or {}).get("enabled")
    )


def of_samples(sampling_params: dict[str, Any], n: int, seed: int | None) -> list[dict[str, Any]]:
    """The parameters of each of a question's completions, whose seeds follow on from the question's."""
    seeds = [{}] * n if seed is None else [{"seed": seed + sample} for sample in range(n)]
    return [sampling_params | of_sample for of_sample in seeds]


def as_one(sampling_params: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The parameters of one request that samples all these completions.

    Args:
        sampling_params: Of each completion.

    Returns:
        The first one's with their number as `n`; None where vLLM would sample others: it gives sample j of a request
        the request's seed plus j, all other parameters are the same, and of greedy requests it takes none of several
        samples.
    """
    first = sampling_params[0]
    if len(sampling_params) == 1 or first.get("temperature") == 0 or first.get("n", 1) != 1:
        return None
    expected = of_samples(first, len(sampling_params), first.get("seed"))
    return first | {"n": len(sampling_params)} if list(sampling_params) == expected else None

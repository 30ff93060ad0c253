"""CPPO (Completion Pruning Policy Optimization, arXiv 2503.22342): the algorithm, for a trainer of your own.

| name | what |
| --- | --- |
| `CPPOConfig` | what is pruned, and what fills the freed room; checks itself |
| `plan_step`, `StepPlan` | the integers of a step: questions, rows, mini-batches |
| `select_completions` | which completions of each question are kept (paper §3.2) |
| `importance_weights` | what the advantages of those are multiplied by with `metric="unbiased"` |
| `Allocator` | round after round of sampled completions, until a step's rows are full (paper §3.3) |
| `reward`, `REWARDS` | a rule-based reward function by its name; the names |
| `ConfigError` | settings that cannot work, with the nearest that do |

None of them needs verl, Ray or vLLM. Training with verl is `cppo-verl train`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cppo_verl.algorithm.allocation import Allocator
    from cppo_verl.algorithm.errors import ConfigError
    from cppo_verl.algorithm.options import CPPOConfig
    from cppo_verl.algorithm.planning import plan_step
    from cppo_verl.algorithm.pruning import select_completions
    from cppo_verl.algorithm.step_plan import StepPlan
    from cppo_verl.algorithm.unbiased import importance_weights
    from cppo_verl.rewards.by_name import REWARDS, reward

_HOMES = {
    "Allocator": "cppo_verl.algorithm.allocation",
    "CPPOConfig": "cppo_verl.algorithm.options",
    "ConfigError": "cppo_verl.algorithm.errors",
    "REWARDS": "cppo_verl.rewards.by_name",
    "StepPlan": "cppo_verl.algorithm.step_plan",
    "importance_weights": "cppo_verl.algorithm.unbiased",
    "plan_step": "cppo_verl.algorithm.planning",
    "reward": "cppo_verl.rewards.by_name",
    "select_completions": "cppo_verl.algorithm.pruning",
}
"""Public name to its module, which is imported when the name is first used: some need torch."""

__all__ = [
    "REWARDS",
    "Allocator",
    "CPPOConfig",
    "ConfigError",
    "StepPlan",
    "importance_weights",
    "plan_step",
    "reward",
    "select_completions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])

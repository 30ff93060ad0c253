"""The shipped reward functions by name, as verl's `custom_reward_function` or any other trainer calls them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

REWARDS = ("gsm8k", "gsm8k_hash", "math", "math_boxed", "olympiad")
"""Names of the shipped rewards; each is a module of this package with a `compute_score`."""


def reward(name: str) -> Callable[..., dict[str, float | str]]:
    """The reward function of a name: `reward("gsm8k")(data_source, completion, gold)`.

    Returns:
        A function of `(data_source, solution_str, ground_truth)` that gives `score`, `acc`, `format` and `outcome`.

    Raises:
        KeyError: There is none of this name.
    """
    if name not in REWARDS:
        raise KeyError(f"no reward {name!r}; there are {', '.join(REWARDS)}")
    return import_module(f"cppo_verl.rewards.{name}").compute_score

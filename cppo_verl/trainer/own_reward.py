"""A reward function of the user's own, with results that are rewards or an error that says why they are none.

`preflight.reward_trial` puts these before verl's reward managers as its `custom_reward_function`. Every row gets the
columns that were found there: a batch has the same for all of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from cppo_verl.rewards.own import load
from cppo_verl.rewards.returned import WANTED, RewardError, left_out, normal
from cppo_verl.runs.notices import notice

SHOWN = 200
"""Characters of a completion in an error."""


def compute_score(own: Mapping[str, Any], **given: Any) -> float | dict[str, Any]:
    """The reward of a completion.

    Args:
        own: `path` and `name` of the function, `kwargs` that it is given further, and `names`, the columns.
        given: What verl gives a reward function.

    Raises:
        RewardError: The function raised, or returned no reward.
    """
    try:
        returned = load(own["path"], own["name"])(**given, **own["kwargs"])
    except Exception as error:
        raise _raised(own, given, error) from error
    return _as_column(own, given, returned)


async def compute_score_async(own: Mapping[str, Any], **given: Any) -> float | dict[str, Any]:
    """The same of a function that is a coroutine's."""
    try:
        returned = await load(own["path"], own["name"])(**given, **own["kwargs"])
    except Exception as error:
        raise _raised(own, given, error) from error
    return _as_column(own, given, returned)


def _as_column(own: Mapping[str, Any], given: Mapping[str, Any], returned: Any) -> float | dict[str, Any]:
    try:
        result = normal(returned, own["names"])
    except ValueError as error:
        raise RewardError(f"{_function(own)} returned {error}{_row(given)}; {WANTED}") from None
    for name in left_out(returned, own["names"]):
        _say_left_out(_function(own), name)
    return result


def _raised(own: Mapping[str, Any], given: Mapping[str, Any], error: Exception) -> RewardError:
    return RewardError(f"{_function(own)} raised {type(error).__name__}: {error}{_row(given)}")


def _function(own: Mapping[str, Any]) -> str:
    return f"{own['name']} of {own['path']}"


def _row(given: Mapping[str, Any]) -> str:
    index = (given.get("extra_info") or {}).get("index")
    source = str(given.get("data_source"))  # verl gives numpy's
    row = f"the row of data_source {source!r}" + ("" if index is None else f" and index {index}")
    return f" for {row} with the completion {str(given.get('solution_str'))[:SHOWN]!r}"


@cache
def _say_left_out(function: str, name: str) -> None:
    """Once for each name in a process."""
    notice(f"{function} returns {name} on some rows, and did not when it was tried before the run: it is left out")

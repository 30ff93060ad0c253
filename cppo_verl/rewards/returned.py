"""What a reward function of the user's own returned, as a column of a batch can hold it, or why it is no reward."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

WANTED = 'return a finite number, or a dict with one under "score"'
SCORE, ACC = "score", "acc"


class RewardError(ValueError):
    """A reward function gave no reward; the message names the function, the row, and what to return."""


def score_of(returned: Any) -> float:
    """The score in what a reward function returned: a number, a bool, an array or tensor of one, or a dict with that.

    Raises:
        ValueError: There is none; the message is what was returned, to stand after "returned".
    """
    if not isinstance(returned, Mapping):
        return _number(returned, "")
    if odd := next((name for name in returned if not isinstance(name, str)), None):
        raise ValueError(f"a dict with the key {odd!r}, which is no text")
    if SCORE not in returned:
        raise ValueError(f'a dict without "score" (its keys: {", ".join(returned) or "none"})')
    return _number(returned[SCORE], ' as "score"')


def names_of(returned: Iterable[Any]) -> list[str]:
    """The columns of a batch of such results: each name that one of the dicts has; none where all are numbers."""
    return list(dict.fromkeys(name for result in returned if isinstance(result, Mapping) for name in result))


def normal(returned: Any, names: Sequence[str]) -> float | dict[str, Any]:
    """A result with the columns of its batch.

    Args:
        returned: By the reward function.
        names: See `names_of`.

    Returns:
        The score where there are no names; else a value for each of them, None where there is none. A number beside
        dicts is `acc` too, as verl takes a number alone.

    Raises:
        ValueError: See `score_of`.
    """
    score = score_of(returned)
    if not names:
        return score
    told = returned if isinstance(returned, Mapping) else {ACC: score}
    return {name: told.get(name) for name in names} | {SCORE: score}


def left_out(returned: Any, names: Sequence[str]) -> list[str]:
    """What a result has and `normal` leaves out."""
    return [name for name in returned if name not in (*names, SCORE)] if isinstance(returned, Mapping) else []


def _number(value: Any, where: str) -> float:
    if hasattr(value, "item"):
        try:
            value = value.item()
        except (ValueError, RuntimeError):  # an array, a tensor of several
            raise ValueError(f"{type(value).__name__} of shape {tuple(value.shape)}{where}") from None
    if isinstance(value, Real) and math.isfinite(value):
        return float(value)
    raise ValueError(f"{value!r:.80}{where}")

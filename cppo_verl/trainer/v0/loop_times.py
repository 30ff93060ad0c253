"""verl's times of the agent loops (`timing_s/agent_loop/*`), over all generation rounds of a step."""

from __future__ import annotations

from collections.abc import Mapping

SLOWEST = "agent_loop/slowest/"
STAGES = ("generate_sequences", "tool_calls", "compute_score")
"""Of a completion; the slowest is that of the largest sum."""


def over_rounds(before: Mapping[str, float], rows: int, last: Mapping[str, float], more: int) -> dict[str, float]:
    """The times of some rounds and of the one after them as those of all.

    Args:
        before: verl's times over the earlier rounds; others than the agent loops' are not looked at.
        rows: Completions of those rounds; 0 before the first.
        last: verl's times of the last round.
        more: Completions of that round.

    Returns:
        The lowest `min`, the highest `max`, the `mean` over all completions, and what is known of the slowest one.
    """
    if not rows:
        return dict(last)
    is_slower = _slowest(last) > _slowest(before)
    return {name: _merged(name, before.get(name, time), rows, time, more, is_slower) for name, time in last.items()}


def _slowest(times: Mapping[str, float]) -> float:
    return sum(times.get(f"{SLOWEST}{stage}", 0.0) for stage in STAGES)


def _merged(name: str, before: float, rows: int, last: float, more: int, is_slower: bool) -> float:
    if name.startswith(SLOWEST):
        return last if is_slower else before
    if name.endswith("/mean"):
        return (before * rows + last * more) / (rows + more)
    return {"min": min, "max": max}[name.rpartition("/")[2]](before, last)

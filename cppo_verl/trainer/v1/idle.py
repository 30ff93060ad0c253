"""How much of a step the rollout engine and the trainer wait for each other.

The engine samples while a request of a trainer's agent loops is at one of its servers. A request that is aborted for
new weights is at none until it is sent again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import ray

Span = tuple[float, float]
"""From when to when, seconds since the epoch."""


class Sampling:
    """When at least one request was at a server."""

    def __init__(self):
        self.running = 0
        """Requests that are."""
        self._since = 0.0
        self._spans: list[Span] = []

    def begin(self) -> None:
        """A request is sent."""
        if not self.running:
            self._since = time.time()
        self.running += 1

    def end(self) -> None:
        """A request is answered, or aborted."""
        self.running -= 1
        if not self.running:
            self._spans.append((self._since, time.time()))

    def take(self) -> list[Span]:
        """The spans since the last call, up to now."""
        spans, self._spans = self._spans, []
        if self.running:
            now = time.time()
            spans.append((self._since, now))
            self._since = now
        return spans


def overlap(spans: Iterable[Span], windows: Iterable[Span]) -> float:
    """Seconds of the windows, which do not overlap one another, in which there is a span."""
    united: list[Span] = []
    for start, end in sorted(spans):
        if united and start <= united[-1][1]:
            united[-1] = united[-1][0], max(end, united[-1][1])
        else:
            united.append((start, end))
    return sum(max(min(end, last) - max(start, first), 0) for first, last in windows for start, end in united)


def idle_metrics(waits: list[Span], awake: list[Span], sampling: list[Span] | None, seconds: float) -> dict[str, float]:
    """Shares of a step, with its checkpoint, in which the trainer waits for completions, and none is sampled.

    Args:
        waits: When the trainer waited.
        awake: When the engines could sample.
        sampling: When completions were being sampled; None where it is not known, and the engines' share left out.
        seconds: The step's.
    """
    idle = {"cppo/idle/trainer": overlap(waits, waits) / seconds}
    if sampling is not None:
        idle["cppo/idle/engine"] = 1 - overlap(sampling, awake) / seconds
    return idle


def agent_loops(manager: Any) -> list:
    """The Ray actors of verl's agent loops; a manager of the user's may have none."""
    return getattr(manager, "agent_loop_workers", [])


def sampling_spans(workers: list) -> list[Span] | None:
    """When completions were being sampled, since the last call; None where the agent loop is not ours."""
    if not workers or not all(hasattr(worker, "sampling_spans") for worker in workers):
        return None
    return [span for spans in ray.get([worker.sampling_spans.remote() for worker in workers]) for span in spans]

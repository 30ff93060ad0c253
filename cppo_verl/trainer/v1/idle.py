"""How much of a step the rollout engine and the trainer wait for each other."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

Span = tuple[float, float]
"""From when to when, seconds since the epoch."""


class Sampling:
    """When at least one completion was being sampled."""

    def __init__(self):
        self.running = 0
        """Completions that are being sampled."""
        self._since = 0.0
        self._spans: list[Span] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        """Around the sampling of a completion."""
        if not self.running:
            self._since = time.time()
        self.running += 1
        try:
            yield
        finally:
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

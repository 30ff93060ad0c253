"""Questions that are fetched while a step trains."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Ahead:
    """Questions that a thread fetches before they are taken."""

    def __init__(self):
        self.before: dict[str, Any] | None = None
        """The state of the stream before the first of them; None where there is none."""
        self.number = 0
        """How many there are, fetched or not yet."""
        self._fetched: list[dict[str, Any]] = []
        self._last: Future | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="questions")

    def fetch(self, source: Iterator[dict[str, Any]], number: int, before: dict[str, Any]) -> None:
        """Begin to fetch the next `number` of a source, which has so many."""
        self.wait()
        self.before = before
        self.number += number
        self._last = self._thread.submit(lambda: self._fetched.extend(itertools.islice(source, number)))

    def wait(self) -> list[dict[str, Any]]:
        """All of them, when they are there.

        Raises:
            Exception: Whatever the dataloader raised.
        """
        if self._last:
            self._last.result()
        return self._fetched

    def take(self, count: int) -> list[dict[str, Any]]:
        """The first `count` of them, or all where they are fewer; raises as `wait`."""
        taken = self.wait()[:count]
        del self._fetched[:count]
        self.number -= len(taken)
        self.before = self.before if self.number else None
        return taken

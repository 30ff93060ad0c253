"""What a value may be: a number in a range, a text, a flag; and what to say of one that is not."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

from omegaconf import ListConfig

MOST = 10**9
"""Of what is counted; more would overflow somewhere."""


@dataclass(frozen=True)
class Number:
    """What a number may be."""

    low: float
    high: float = MOST
    whole: bool = True
    above_low: bool = False
    """The lowest value itself is not allowed."""
    also: tuple[float | None, ...] = ()
    """Values with a meaning of their own (-1: none; null: decided elsewhere)."""

    def fault(self, value: object) -> str | None:
        """What the value must be; None where it is."""
        if value in self.also and not isinstance(value, bool):
            return None
        if (
            isinstance(value, bool)
            or not isinstance(value, int if self.whole else int | float)
            or not abs(value) <= sys.float_info.max  # neither nan, nor infinite, nor an integer that no float holds
        ):
            return f"must be {self}"
        within = self.low <= value <= self.high and not (self.above_low and value == self.low)
        return None if within else f"must be {self}{self._nearest(value)}"

    def _nearest(self, value: float) -> str:
        return f"; nearest: {min(max(value, self.low), self.high)}" if self.whole else ""

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low = f" {'above' if self.above_low else 'from'} {self.low}"
        high = "" if self.high in (MOST, math.inf) else f" to {self.high}"
        special = "".join(f", or {'null' if value is None else value}" for value in self.also)
        return kind + low + high + special


@dataclass(frozen=True)
class Text:
    """What a word or path may be."""

    null: bool = False
    many: bool = False
    """A list of such is allowed too."""
    one: bool = True
    """A single one is allowed."""

    def fault(self, value: object) -> str | None:
        """What the value must be; None where it is."""
        if value is None and self.null:
            return None
        if isinstance(value, ListConfig | list):
            is_right = self.many and len(value) and all(isinstance(item, str) and item for item in value)
        else:
            is_right = self.one and isinstance(value, str) and value
        return None if is_right else f"must be {self}"

    def __str__(self) -> str:
        kinds = ["a text"] * self.one + ["a list of texts, not empty"] * self.many + ["null"] * self.null
        return ", or ".join(kinds)


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def fault(self, value: object) -> str | None:
        """What the value must be; None where it is."""
        return None if isinstance(value, bool) else "must be true or false"

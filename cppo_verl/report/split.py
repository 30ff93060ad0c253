"""The seconds of a step by phase, and what pruning makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from cppo_verl.report import stats

PHASES = {
    "generation": ("gen",),
    "reward": ("reward",),
    "advantage + prune": ("adv", "prune"),
    "data movement": ("draw", "gather"),
    "old log-prob": ("old_log_prob",),
    "ref log-prob": ("ref",),
    "update": ("update_actor",),
    "critic": ("values", "update_critic"),
    "weight sync": ("update_weights",),
}
"""Phase of a step to the timers it adds up; the rest of the step is `other`."""

SHRINKING = ("old log-prob", "ref log-prob", "update")
"""The phases that pruning shrinks."""

ONCE_A_STEP = ("weight sync",)
"""The phases that cost the same however many questions a step has; with allocation it has 1 / (1 - P) times as many."""


@dataclass(frozen=True)
class Split:
    """GRPO's time by phase.

    Invariants: at P = 0 both ratios are 1; both grow with P; allocation is never the slower one, and `limit` is never
    below it.
    """

    seconds: Mapping[str, float]
    """Of each of `PHASES` and of `other`: of a step, a question or a run, which the ratios do not depend on."""

    @classmethod
    def of(cls, steps: pd.DataFrame) -> Split:
        """Sums over training steps.

        Args:
            steps: A row a step, columns as verl logs them; a timer that is absent took no time.
        """
        found = {
            phase: float(sum(steps[f"timing_s/{timer}"].sum() for timer in timers if f"timing_s/{timer}" in steps))
            for phase, timers in PHASES.items()
        }
        return cls(found | {"other": float(steps["timing_s/step"].sum() - sum(found.values()))})

    def per(self, number: float) -> Split:
        """The same for one of a number of steps or questions."""
        return Split({phase: seconds / number for phase, seconds in self.seconds.items()})

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return sum(self.seconds.values())

    @property
    def shrinking(self) -> float:
        """t: seconds of the old and reference log-probs and the update."""
        return sum(self.seconds[phase] for phase in SHRINKING)

    @property
    def fixed(self) -> float:
        """g: seconds that pruning leaves alone."""
        return self.total - self.shrinking

    @property
    def shared(self) -> float:
        """w: seconds of g that allocation spreads over more questions."""
        return sum(self.seconds[phase] for phase in ONCE_A_STEP)

    def share(self, phase: str) -> float:
        """Of the whole, from 0 to 1."""
        return self.seconds[phase] / self.total

    def bound(self, rate: float) -> float:
        """How many times faster a question gets by pruning only, at the most: (g + t) / (g + t (1 - P)).

        Args:
            rate: P; 1 gives the limit if the forwards and the update cost nothing.
        """
        return stats.bound(self.fixed, self.shrinking, rate)

    def allocated(self, rate: float) -> float:
        """The same with allocation, for which w shrinks too; as many completions a second are sampled as in GRPO."""
        return stats.bound(self.fixed - self.shared, self.shrinking + self.shared, rate)

    @property
    def limit(self) -> float:
        """What `allocated` tends to as P goes to 1."""
        return self.allocated(1)

"""Golds that are known to be wrong, or that a question leaves open, and what preparation does about them.

Published accuracies were measured with them, so they are kept unless someone asks for something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Policy = Literal["keep", "drop", "mend"]
"""`keep` the published gold; `drop` the row; `mend` the gold where it is clear what is right."""
POLICIES: tuple[Policy, ...] = ("keep", "drop", "mend")


@dataclass(frozen=True)
class KnownError:
    """One gold of a published data set."""

    opening: str
    """How the question begins."""
    published: str
    """The gold as it is published; another one is not touched."""
    right: str | None
    """What is right; None where the question can be read in two ways."""
    why: str
    """What is wrong with it, and where that can be seen."""

    def told(self, policy: Policy) -> str:
        """What to say of a row, by what is done about it."""
        what = f"published gold {self.published!r} is known to be wrong" if self.right else "the gold can be disputed"
        done = {
            "keep": f"kept; {self.right} is right" if self.right else "kept",
            "drop": "row left out",
            "mend": f"gold set to {self.right!r}" if self.right else "kept: neither reading is wrong",
        }
        return f"{what} ({self.why}): {done[policy]}"


def find(errors: Sequence[KnownError], question: str, gold: str | None) -> KnownError | None:
    """The known error of a row, if it is one and its gold is the published one."""
    return next((error for error in errors if question.startswith(error.opening) and gold == error.published), None)

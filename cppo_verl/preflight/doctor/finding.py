"""What `doctor` says of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "error", "not there"]


@dataclass(frozen=True)
class Finding:
    """One line."""

    name: str
    """Of what was looked at."""
    status: Status
    """`error`: a run cannot start or will break. `not there`: a run does without."""
    found: str
    remedy: str = ""
    """What to do; empty where there is nothing to do."""

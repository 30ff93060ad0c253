"""The tables of `docs/metrics.md`, as what a logged key can be compared with."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[2] / "docs/metrics.md"
PLACEHOLDER = {"SOURCE": r"[\w./-]+?", "NAME": r"[\w@./-]+", "PLACE": r"[1-8]", "K": r"\d+"}
"""A word in capitals to what it stands for."""


class Line(NamedTuple):
    """A line of the tables."""

    name: str
    unit: str
    rows: str
    meaning: str

    @property
    def keys(self) -> list[str]:
        """The keys that it stands for, placeholders as they are written."""
        parts = re.split(r"\{([^}]*)\}", self.name)
        choices = [part.split(",") if number % 2 else [part] for number, part in enumerate(parts)]
        return ["".join(chosen) for chosen in product(*choices)]

    def is_of(self, key: str) -> bool:
        """Whether a logged key is one of them."""
        return any(pattern(name).fullmatch(key) for name in self.keys)


def pattern(name: str) -> re.Pattern:
    """What a name with placeholders matches."""
    words = re.split(r"((?<![A-Za-z])(?:SOURCE|NAME|PLACE|K)(?![A-Za-z]))", name)
    return re.compile("".join(PLACEHOLDER.get(word, re.escape(word)) for word in words))


def lines(path: Path = DOCS) -> list[Line]:
    """All lines of the tables whose head is that of a metric."""
    found = []
    for text in path.read_text().splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", text)[1:-1]]
        if len(cells) == 4 and cells[0].startswith("`"):
            found.append(Line(cells[0].strip("`"), *cells[1:]))
    return found


def lines_of(key: str, table: list[Line]) -> list[Line]:
    """The lines that say what a key is: one where all is well. A line without placeholders is meant before one with."""
    found = [line for line in table if line.is_of(key)]
    exact = [line for line in found if key in line.keys]
    return exact or found

"""docs/seams.md: every method of verl's that is overridden is there, said rightly, and still verl's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import seams

IMPLEMENTED = {"PlatformCPU", "FileCheckpointEngine"}
"""Of verl's abstract classes; the page names them, not each method."""


def tables(page: str, heading: str) -> list[list[str]]:
    """Cells of each line of the tables below headings that begin so."""
    sections = [text for text in page.split("\n## ") if text.startswith(heading)]
    lines = [line for text in sections for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


@pytest.fixture
def page(repo: Path) -> str:
    return (repo / "docs/seams.md").read_text()


def test_overridden_methods_are_those_of_the_code(page: str) -> None:
    told, owner = set(), ()
    for cells in tables(page, "Overridden"):
        if named := re.match(r"`([\w/]+\.py)` `(\w+)`", cells[0]):
            owner = named.groups()
        if cells[2] in ("wraps", "replaces"):
            methods = re.findall(r"`(\w+)`", cells[1])
            told |= {seams.Override(*owner, method, cells[2] == "wraps") for method in methods}
    found = {override for override in seams.overrides() if override.owner not in IMPLEMENTED}
    assert told - found == set(), "verl has none of these any more, or ours does not"
    assert found - told == set(), "to be added to docs/seams.md"
    assert all(f"`{name}`" in page for name in IMPLEMENTED)


def test_what_is_copied_is_still_verls(page: str) -> None:
    lines = [cells for cells in tables(page, "Copied") if cells[0].startswith("`")]
    assert len(lines) > 8
    for _, verls in lines:
        *_, owner, name = verls.strip("`").split(".")
        assert seams.has(owner, name), f"verl has no {owner}.{name}"


def test_a_method_that_verl_lacks_is_seen() -> None:
    assert seams.has("PPOTrainer", "_step_once") and not seams.has("PPOTrainer", "_step_twice")

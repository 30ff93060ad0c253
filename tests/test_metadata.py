"""One version of verl and of this project, wherever they are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10; pytest brings it there
    import tomli as tomllib


@pytest.fixture
def project(repo: Path) -> dict:
    """`[project]` of pyproject.toml."""
    return tomllib.loads((repo / "pyproject.toml").read_text())["project"]


@pytest.fixture
def verl(project: dict) -> str:
    """The version that is pinned."""
    (pinned,) = [need for need in project["dependencies"] if need.startswith("verl==")]
    return pinned.removeprefix("verl==")


def test_required_verl_is_the_pinned_one(repo: Path, verl: str) -> None:
    lines = (repo / "recipe/cppo/REQUIRED_VERL.txt").read_text().splitlines()
    required = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    told = {name: required[name] for name in ("MODE", "TAG", "PIP_INSTALL", "RECIPE_FOLDER")}
    pip = f"pip install verl=={verl}"
    assert told == {"MODE": "pinned_tag", "TAG": f"v{verl}", "PIP_INSTALL": pip, "RECIPE_FOLDER": "cppo"}
    section = (
        (repo / "recipe/cppo/README.md").read_text().partition("## Required `verl` version\n")[2].partition("\n#")[0]
    )
    assert f"`{pip}`" in section and "REQUIRED_VERL.txt" in section


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "docs/architecture.md", "docs/seams.md"])
def test_pages_name_the_pinned_verl(repo: Path, verl: str, page: str) -> None:
    named = re.findall(r"\bverl(?:==| )(\d+\.\d+\.\d+)", (repo / page).read_text())
    assert set(named) == {verl}


def test_the_version_is_one(repo: Path, project: dict) -> None:
    cited = yaml.safe_load((repo / "CITATION.cff").read_text())
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (repo / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert cited["version"] == newest == project["version"]
    assert cited["license"] == project["license"]


def test_the_paper_that_is_cited_is_the_readmes(repo: Path) -> None:
    paper = yaml.safe_load((repo / "CITATION.cff").read_text())["preferred-citation"]
    readme = (repo / "README.md").read_text()
    assert f"{{{paper['title']}}}" in readme and f"{{{paper['journal']}}}" in readme
    names = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    assert f"{{{names}}}" in readme

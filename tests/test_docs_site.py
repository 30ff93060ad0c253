"""The documentation site: every page is on it, and it is built without a warning."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10; pytest brings it there
    import tomli as tomllib


@pytest.fixture
def site(repo: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_site", repo / "scripts/docs_site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def gathered(site: ModuleType, tmp_path: Path) -> Path:
    site.gather(tmp_path / "docs")
    return tmp_path / "docs"


def listed(nav: list | dict | str) -> Iterator[str]:
    """The pages of the navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from listed(part)


def test_the_navigation_has_every_page(repo: Path) -> None:
    """But the reports of single studies, which the page of results shows."""
    there = {*repo.glob("*.md"), *repo.glob("docs/*.md"), *repo.glob("recipe/*/*.md"), repo / "docs/results/README.md"}
    nav = list(listed(tomllib.loads((repo / "zensical.toml").read_text())["project"]["nav"]))
    assert sorted(nav) == sorted(str(page.relative_to(repo)) for page in there)


def test_links_to_code_are_its_paths(gathered: Path) -> None:
    """The site has no code; links between pages and to pictures are as they were."""
    options = (gathered / "pages/docs/options.md").read_text()
    assert "CPPOConfig (`cppo_verl/algorithm/options.py`)" in options and "](commands.md)" in options
    results = (gathered / "pages/docs/results/README.md").read_text()
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", results):
        assert (gathered / "pages/docs/results" / picture).is_file()


def build(folder: Path) -> subprocess.CompletedProcess:
    pytest.importorskip("zensical", reason="no zensical to build the site with: pip install -e '.[docs]'")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_it_is_built_without_a_warning(gathered: Path) -> None:
    ended = build(gathered)
    assert ended.returncode == 0 and "Warning" not in ended.stdout + ended.stderr, ended.stdout + ended.stderr
    for page in ("index.html", "docs/options/index.html", "docs/results/index.html", "CONTRIBUTING/index.html"):
        assert (gathered / "site" / page).is_file(), page
    text = (gathered / "site/docs/options/index.html").read_text()
    assert "cppo.pruning_rate" in text and "fonts.googleapis.com" not in text


def test_a_dead_link_is_a_failure(gathered: Path) -> None:
    page = gathered / "pages/docs/install.md"
    page.write_text(page.read_text() + "\n[nowhere](nowhere.md)\n")
    assert build(gathered).returncode != 0

"""CONTRIBUTING.md: each of its examples fits the code of today, and does what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = re.compile(r"^```(diff|python)\n(.*?)^```$", re.M | re.S)


def examples(repo: Path) -> dict[str, list[tuple[str, str]]]:
    """The blocks of each section that has a diff or Python, by its heading."""
    sections = re.split(r"^## ", (repo / "CONTRIBUTING.md").read_text(), flags=re.M)[1:]
    found = {text.partition("\n")[0]: BLOCK.findall(text) for text in sections}
    return {heading: blocks for heading, blocks in found.items() if blocks}


@pytest.fixture
def clone(repo: Path, tmp_path: Path) -> Path:
    """A copy of what an example may change."""
    unused = shutil.ignore_patterns("__pycache__")
    for folder in ("cppo_verl", "recipe", "examples"):
        shutil.copytree(repo / folder, tmp_path / folder, ignore=unused)
    return tmp_path


def run(clone: Path, *command: object) -> None:
    """Run Python in the copy, whose package is the one that is imported."""
    env = {**os.environ, "PYTHONPATH": str(clone), "PYTEST_ADDOPTS": ""}  # which are for the tests that run this
    command = [sys.executable, "-m", *map(str, command)]
    ended = subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def apply(clone: Path, diff: str) -> list[str]:
    """Make a diff's changes, wherever its lines are now; returns the files."""
    files = re.split(r"^--- .*\n\+\+\+ b/", diff, flags=re.M)[1:]
    for text in files:
        name, _, hunks = text.partition("\n")
        code = (clone / name).read_text()
        for hunk in hunks.split("@@\n")[1:]:
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] or line for line in lines if not line.startswith("+"))
            assert code.count(old) == 1, f"{name} has changed; CONTRIBUTING.md shows\n{old}"
            code = code.replace(old, "".join(line[1:] or line for line in lines if not line.startswith("-")))
        (clone / name).write_text(code)
    return [text.partition("\n")[0] for text in files]


def add(repo: Path, clone: Path, code: str) -> str:
    """Write a file, which its first line names; returns the name."""
    name, _, text = code.removeprefix("# ").partition("\n")
    assert not (repo / name).exists() and name.endswith(".py")
    (clone / name).parent.mkdir(parents=True, exist_ok=True)
    (clone / name).write_text(text)
    return name


@pytest.mark.parametrize("heading", ["A pruning metric", "A data set", "A reward", "An engine"])
def test_an_addition(repo: Path, clone: Path, heading: str) -> None:
    """Its diffs are applied to a copy of the package, its files are written, and its tests pass there."""
    files = []
    for kind, code in examples(repo)[heading]:
        files += apply(clone, code) if kind == "diff" else [add(repo, clone, code)]
    tests = [file for file in files if file.startswith("tests/")]
    assert tests
    run(clone, "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", clone, *tests)
    run(clone, "ruff", "check", "--no-cache", "--config", repo / "pyproject.toml", *files)
    run(clone, "ruff", "format", "--check", "--no-cache", "--config", repo / "pyproject.toml", *files)


def test_every_example_is_run(repo: Path) -> None:
    assert set(examples(repo)) == {"A pruning metric", "A data set", "A reward", "An engine"}

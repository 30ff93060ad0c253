"""The wheel and the sdist: what is in them, and that the package works where there is no clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

SHIPPED = ("cppo_verl", "recipe", "examples", "scripts", "docs")


@pytest.fixture(scope="module")
def built(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of a copy of the clone's files, and the wheel of that sdist."""
    pytest.importorskip("hatchling", reason="no hatchling to build with: pip install -e '.[dev]'")
    folder = tmp_path_factory.mktemp("built")
    copy = folder / "copy"
    for name in SHIPPED:
        shutil.copytree(repo / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for file in repo.iterdir():
        if file.is_file():
            shutil.copy(file, copy)
    build(copy, folder, "sdist")
    with tarfile.open(next(folder.glob("*.tar.gz"))) as sdist:
        sdist.extractall(folder / "sdist", filter="data")
    build(next((folder / "sdist").iterdir()), folder, "wheel")
    return folder


def build(source: Path, out: Path, target: str) -> None:
    """By the project's build backend, from what is installed: no registry is asked."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", out]
    ended = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def installed(built: Path) -> Path:
    """The wheel's files, where Python finds them."""
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(built / "site")
    return built / "site"


def python(installed: Path, folder: Path, *arguments: str) -> str:
    """What Python prints in an empty folder, with the wheel's package in front of any clone's."""
    env = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", *arguments]
    ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def files(folder: Path) -> set[str]:
    """Paths below a folder, but for what Python leaves."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*.*") if "__pycache__" not in path.parts}


def test_the_wheel_has_every_file_of_the_package(repo: Path, installed: Path) -> None:
    assert files(repo / "cppo_verl") <= files(installed / "cppo_verl")


def test_the_wheel_has_recipes_and_studies(repo: Path, installed: Path) -> None:
    """And no script: those go by the clone's own."""
    there = files(installed / "cppo_verl/recipes")
    assert there == {file for file in files(repo / "recipe") if not file.endswith(".sh")}
    assert {"cppo/REQUIRED_VERL.txt", "cppo/studies/pruning_rate.yaml", "cppo/config/recipe/gsm8k.yaml"} <= there


def test_the_sdist_has_what_the_readme_starts(built: Path) -> None:
    (source,) = (built / "sdist").iterdir()
    scripts = ("scripts/quickstart.sh", "scripts/setup.sh", "recipe/cppo/gsm8k_cppo.sh")
    for name in (*scripts, "examples/data_preprocess/gsm8k.py", "LICENSE", "README.md", "CITATION.cff"):
        assert (source / name).is_file(), name
    assert os.access(source / "scripts/python.sh", os.X_OK)


def test_metadata(installed: Path, repo: Path) -> None:
    """What a registry shows, and the entry points by which verl and vLLM find the package."""
    (folder,) = installed.glob("*.dist-info")
    of = PathDistribution(folder)
    assert of.metadata["License-Expression"] == "Apache-2.0"
    assert of.metadata["Description"].strip() == (repo / "README.md").read_text().strip()
    groups = {point.group: point.value for point in of.entry_points}
    plugins = {"verl.plugins": "cppo_verl.plugin", "vllm.general_plugins": "cppo_verl.cpu.vllm_plugin:register"}
    assert groups == {"console_scripts": "cppo_verl.cli:cli", **plugins}


def test_outside_the_clone_its_files_are_found(repo: Path, installed: Path, tmp_path: Path) -> None:
    """Recipes of every folder composed, studies, shapes: of the wheel, and nothing of the clone."""
    code = r"""
import cppo_verl
from cppo_verl.config.compose import compose
from cppo_verl.config.sources import choices, recipes, search_path
from cppo_verl.hardware.shapes import find_geometry
from cppo_verl.studies.study import find_study
print(cppo_verl.__file__, recipes(), *(path.removeprefix("file://") for path in search_path()[1:]), sep="\n")
for recipe in choices("recipe"):
    assert compose([f"recipe={recipe.stem}"]).cppo.metric == "smallest"
assert len(find_study("pruning_rate").arms) == 5
find_geometry("qwen2.5-7b")
"""
    printed = python(installed, tmp_path, "-c", code).splitlines()
    assert len(printed) >= 6 and all(Path(path).is_relative_to(installed) for path in printed)
    assert not any(Path(path).is_relative_to(repo) for path in printed)


def test_outside_the_clone_the_command_runs(installed: Path, tmp_path: Path) -> None:
    """And composes a recipe of the wheel; nothing is written."""
    assert "Recipes (recipe=NAME)" in python(installed, tmp_path, "-m", "cppo_verl", "train", "--help")
    shown = python(installed, tmp_path, "-m", "cppo_verl", "train", "recipe=math", "--cfg", "job", "--package", "cppo")
    assert "pruning_rate: 0.0" in shown
    assert not list(tmp_path.iterdir())

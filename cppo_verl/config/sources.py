"""Where configs come from: this package, verl, and the shipped recipes. Nothing of verl is imported to find them."""

from __future__ import annotations

import difflib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
TRAINER = PACKAGE / "config"
"""Folder of `cppo_trainer.yaml`."""


@cache
def recipes() -> Path:
    """The shipped recipes: `recipe/` of a checkout, or their copy in an installed package."""
    checkout = PACKAGE.parent / "recipe"
    return checkout if checkout.is_dir() else PACKAGE / "recipes"


@cache
def verl_configs() -> Path:
    """The folder of verl's own YAML files."""
    return Path(find_spec("verl").submodule_search_locations[0]) / "trainer/config"


def search_path() -> list[str]:
    """What Hydra searches after a command's own config: verl's files, then every shipped recipe's."""
    return [f"file://{folder}" for folder in (verl_configs(), *sorted(recipes().glob("*/config")))]


def choices(group: str) -> list[str]:
    """What can be chosen by `GROUP=`, of the shipped recipes and this package: sorted names."""
    folders = [TRAINER / group, *recipes().glob(f"*/config/{group}")]
    return sorted(path.stem for folder in folders for path in folder.glob("*.yaml"))


def nearest(name: str, names: list[str]) -> str:
    """The name that looks most like a given one."""
    return difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]

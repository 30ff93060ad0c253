"""Where configs come from: this package, verl, and the shipped recipes. Nothing of verl is imported to find them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
TRAINER = PACKAGE / "config"
"""Folder of `cppo_trainer.yaml`."""


@cache
def recipes() -> Path:
    """The shipped recipes: `recipe/` of a checkout, or their copy in an installed package."""
    installed = PACKAGE / "recipes"
    return installed if installed.is_dir() else PACKAGE.parent / "recipe"


@cache
def verl_configs() -> Path:
    """The folder of verl's own YAML files."""
    return Path(find_spec("verl").submodule_search_locations[0]) / "trainer/config"


def search_path() -> list[str]:
    """What Hydra searches after a command's own config: verl's files, then every shipped recipe's."""
    return [f"file://{folder}" for folder in (verl_configs(), *sorted(recipes().glob("*/config")))]


def choices(group: str) -> list[Path]:
    """The files that `GROUP=NAME` chooses from, of this package and the shipped recipes; `_NAME.yaml` is for others to
    build on."""
    folders = [TRAINER / group, *sorted(recipes().glob(f"*/config/{group}"))]
    return [path for folder in folders for path in sorted(folder.glob("[!_]*.yaml"))]


def meant(name: str, names: Iterable[str]) -> str:
    """`; did you mean NAME?`, where one of the names looks like the given one, else nothing."""
    alike = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"; did you mean {alike[0]}?" if alike else ""

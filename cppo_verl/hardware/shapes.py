"""Shapes of models that need no download: what the benchmark runs with random weights, and `fit` reckons with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from cppo_verl.algorithm.errors import ConfigError

GEOMETRIES = Path(__file__).parent / "shape_files"


@dataclass(frozen=True)
class Geometry:
    """A model's shape, and what it is benchmarked with."""

    name: str
    about: str
    shape: dict[str, int | bool]
    dtype: str
    prompt_tokens: int
    overrides: list[str]


def find_geometry(name: str) -> Geometry:
    """A shipped geometry.

    Raises:
        ConfigError: There is none of this name.
    """
    path = GEOMETRIES / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(shipped.stem for shipped in path.parent.glob("*.yaml")))
        raise ConfigError(f"no geometry {name!r}; there are {names}")
    return Geometry(name, **OmegaConf.to_container(OmegaConf.load(path)))

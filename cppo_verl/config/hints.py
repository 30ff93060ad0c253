"""A command line that Hydra would refuse, said in a line: the nearest key or choice for one that does not exist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from cppo_verl.config.sources import nearest, search_path

GROUPS = ("recipe", "sft", "mode", "device")
"""Config groups that a user chooses from."""


def refusal(arguments: Sequence[str], folder: Path, name: str) -> list[str]:
    """Why Hydra will not compose a command line's config, a line each; empty where it will.

    Args:
        arguments: The command line's, after the command.
        folder: Of the primary config.
        name: Of the primary config.
    """
    args = get_args_parser().parse_args(list(arguments))
    if args.multirun or args.help or args.hydra_help or args.info:
        return []
    own = [f"file://{Path(args.config_dir).absolute()}"] if args.config_dir else []
    path = f"hydra.searchpath=[{','.join([*search_path(), *own])}]"
    try:
        with initialize_config_dir(str(folder), version_base=None):
            compose(name, overrides=[path, *args.overrides])
        return []
    except HydraException as error:
        return _unknown_keys(args.overrides, path, folder, name) or [str(error)]


def _unknown_keys(overrides: Sequence[str], path: str, folder: Path, name: str) -> list[str]:
    """A line for each key that the config does not have, with the nearest that it has."""
    values = [override for override in overrides if "=" in override and override[0] not in "+~-"]
    try:
        with initialize_config_dir(str(folder), version_base=None):
            groups = [override for override in values if override.split("=")[0] in GROUPS]
            config = compose(name, overrides=[path, *groups])
    except HydraException:  # it is a group that is wrong; Hydra lists those there are
        return []
    known = set(_keys(config))
    given = [override.split("=")[0] for override in values]
    unknown = [key for key in given if key not in known and key not in GROUPS and not key.startswith("hydra.")]
    return [f"unknown option {key}; did you mean {_nearest(key, known)}?" for key in unknown]


def _keys(config: DictConfig) -> Iterator[str]:
    def walk(node: Any, prefix: str) -> Iterator[str]:
        for key, value in node.items():
            yield f"{prefix}{key}"
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}.")

    return walk(OmegaConf.to_container(config), "")


def _nearest(key: str, known: set[str]) -> str:
    """The most alike; of keys in the same block, if there are such."""
    block = key.rpartition(".")[0]
    siblings = [other for other in known if other.rpartition(".")[0] == block]
    return nearest(key, sorted(siblings or known))

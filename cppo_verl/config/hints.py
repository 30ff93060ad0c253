"""A command line that Hydra would refuse, said in a line: the nearest key or choice for one that does not exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from cppo_verl.config.sources import choices, meant, search_path

GROUPS = ("recipe", "sft", "mode", "device")
"""Config groups that a user chooses from."""


def refusal(arguments: Sequence[str], folder: Path, name: str) -> list[str]:
    """Why Hydra will not compose a command line's config, a line each; empty where it will.

    Args:
        arguments: The command line's, after the command.
        folder: Of the primary config.
        name: Of the primary config.
    """
    parser = get_args_parser()
    try:
        with redirect_stderr(StringIO()):
            args = parser.parse_args(list(arguments))
    except SystemExit:  # argparse's, of a flag that Hydra does not have
        return [f"{' '.join(arguments)} has a flag that this command does not know; see --help"]
    if args.multirun or args.help or args.hydra_help or args.info:
        return []
    own = _with_folder(args.config_dir, folder / f"{name}.yaml") if args.config_dir else []
    try:
        with initialize_config_dir(str(folder), version_base=None):
            compose(name, overrides=[*own, *args.overrides])
        return []
    except HydraException as error:
        values = [override.partition("=") for override in args.overrides if override[0] not in "+~-"]
        faults = [f"{key} is no option; give NAME=VALUE" for key, equals, _ in values if not equals]
        faults += [] if own else _unknown_choices({key: value for key, _, value in values})
        return faults or _unknown_keys({key: value for key, _, value in values}, own, folder, name) or [str(error)]


def _unknown_choices(values: Mapping[str, str]) -> list[str]:
    """A line for each choice that a group does not have."""
    faults = []
    for group in values.keys() & set(GROUPS):
        names = [choice.stem for choice in choices(group)]
        if values[group] not in names:
            faults.append(f"no {group} {values[group]} (there are {', '.join(names)}){meant(values[group], names)}")
    return faults


def _with_folder(config_dir: str, primary: Path) -> list[str]:
    """What makes Hydra search a folder of the user's too, after those that the primary config names."""
    named = search_path() if "config_sources" in primary.read_text() else []
    return [f"hydra.searchpath=[{','.join([*named, f'file://{Path(config_dir).absolute()}'])}]"]


def _unknown_keys(values: Mapping[str, str], own: list[str], folder: Path, name: str) -> list[str]:
    """A line for each key that the config does not have, with the one that it has and that looks like it."""
    groups = [f"{key}={value}" for key, value in values.items() if key in GROUPS]
    try:
        with initialize_config_dir(str(folder), version_base=None):
            config = compose(name, overrides=[*own, *groups])
    except HydraException:  # a group of the user's own, say, that cannot be composed
        return []
    known = {*_keys(config), *GROUPS}
    unknown = [key for key in values if key not in known and not key.startswith("hydra.")]
    return [f"unknown option {key}{meant(key, _alike(key, known))}" for key in unknown]


def _keys(config: DictConfig) -> Iterator[str]:
    def walk(node: Any, prefix: str) -> Iterator[str]:
        for key, value in node.items():
            yield f"{prefix}{key}"
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}.")

    return walk(OmegaConf.to_container(config), "")


def _alike(key: str, known: set[str]) -> set[str]:
    """Keys that may have been meant: those in the same block, if there are such."""
    block = key.rpartition(".")[0]
    return {other for other in known if other.rpartition(".")[0] == block} or known

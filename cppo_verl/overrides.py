"""The nearest key for one on the command line that the config does not have; Hydra only says that it has it not."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from cppo_verl.config import ConfigError
from cppo_verl.files import InUse


def run_main(main: Callable[[], None], config_dir: Path, config_name: str) -> None:
    """Run a `hydra.main` function; where Hydra refuses the command line, add what may have been meant."""
    try:
        main()
    except SystemExit as stop:
        if stop.code == 1:
            for hint in hints(sys.argv[1:], config_dir, config_name):
                print(hint, file=sys.stderr)
        raise


def run_or_say(run: Callable[[DictConfig], None], config: DictConfig) -> None:
    """Run; a fault that was found before anything started is said in place of a traceback."""
    try:
        run(config)
    except (ConfigError, InUse) as error:
        sys.exit(f"error: {error}")


def hints(argv: Sequence[str], config_dir: Path, config_name: str) -> list[str]:
    """A line for each unknown key on a command line, with the nearest known one."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config-dir", "-cd")
    args, rest = parser.parse_known_args(list(argv))
    overrides = [override for override in rest if "=" in override and override[0] not in "+~-"]
    path = [f"hydra.searchpath=[pkg://verl.trainer.config,file://{args.config_dir}]"] if args.config_dir else []
    try:
        with initialize_config_dir(str(config_dir), version_base=None):
            groups = [override for override in overrides if override.split("=")[0] in GROUPS]
            config = compose(config_name, overrides=[*path, *groups])
    except HydraException:  # it is a group that is wrong; Hydra lists those there are
        return []
    known = set(_keys(config))
    given = [override.split("=")[0] for override in overrides]
    unknown = [key for key in given if key not in known and key not in GROUPS and not key.startswith("hydra.")]
    return [f"unknown option {key}; did you mean {_nearest(key, known)}?" for key in unknown]


GROUPS = ("recipe", "sft", "mode", "device")
"""Config groups that a user chooses from."""


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
    return difflib.get_close_matches(key, siblings or known, n=1, cutoff=0.0)[0]

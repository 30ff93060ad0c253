"""Hydra from a command line, or from a list of overrides, with the resolvers that the shipped YAML files use."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.config.attention import installed_attention
from cppo_verl.config.hints import refusal
from cppo_verl.config.sources import TRAINER, search_path

RESOLVERS: dict[str, Callable] = {
    "config_sources": search_path,
    "attention": lambda: installed_attention(),
    "sum": lambda *values: sum(values),
    "times": lambda *values: math.prod(values),
    "stale": lambda use_v1, mode, bypass=False: bool(use_v1) and mode != "cppo_sync" and not bypass,
    "either": lambda choice, yes, no: yes if choice else no,
    "beside": lambda paths, name: os.path.join(os.path.dirname(paths if isinstance(paths, str) else paths[0]), name),
}
"""What `${NAME:...}` means in our YAML files."""

for _name, _resolver in RESOLVERS.items():
    OmegaConf.register_new_resolver(_name, _resolver, replace=True)


def compose(overrides: Sequence[str], folder: Path = TRAINER, name: str = "cppo_trainer") -> DictConfig:
    """The config of a list of Hydra overrides."""
    with hydra.initialize_config_dir(str(folder), version_base=None):
        return hydra.compose(name, overrides=list(overrides))


def run_with_config(
    task: Callable[[DictConfig], None], arguments: Sequence[str], folder: Path = TRAINER, name: str = "cppo_trainer"
) -> None:
    """Run a task on the config that a command line composes, as `hydra.main` does.

    Args:
        task: What is run.
        arguments: Hydra's: overrides, and options such as `--config-dir` and `--cfg job`.
        folder: Of the primary config.
        name: Of the primary config, without `.yaml`.

    Raises:
        SystemExit: Code 1 and a line or more of what is wrong, where Hydra would refuse the command line or the task
            raises `ConfigError`.
    """

    if why := refusal(arguments, folder, name):
        sys.exit("error: " + "\n       ".join(why))

    def run_or_say(config: DictConfig) -> None:
        try:
            task(config)
        except ConfigError as error:
            sys.exit(f"error: {error}")

    before, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        hydra.main(config_path=str(folder), config_name=name, version_base=None)(run_or_say)()
    finally:
        sys.argv = before

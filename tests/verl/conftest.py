"""What the tests that need verl share."""

import re
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

import cppo_verl.train

CONF = str(Path(cppo_verl.train.__file__).parent / "conf")
# Sets a value in a block. What chooses a file has no dot in its key, or has an @ there.
SETS_A_VALUE = re.compile(r"\+*\w+(\.\w+)+=")


@pytest.fixture(scope="session")
def compose_config(repo) -> Callable[..., DictConfig]:
    """`compose_config("key=value", ...)`: the config that `cppo_verl.train` would compose.

    Reading the files takes a second: it is done once for each choice of them. Values are set in a copy, by the
    method with which Hydra 1.3 sets them after the files.
    """
    recipes = ",".join(f"file://{folder}" for folder in sorted(repo.glob("recipe/*/config")))
    search_path = f"hydra.searchpath=[pkg://verl.trainer.config,{recipes}]"

    @cache
    def of_files(*overrides: str) -> DictConfig:
        with initialize_config_dir(CONF, version_base=None):
            return compose("cppo_trainer", overrides=[search_path, *overrides])

    def composed(*overrides: str) -> DictConfig:
        values = [override for override in overrides if SETS_A_VALUE.match(override)]
        config = deepcopy(of_files(*(override for override in overrides if override not in values)))
        ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides(values), config)
        return config

    return composed


@pytest.fixture
def config(compose_config) -> Callable[..., DictConfig]:
    """The same; a test file may have another `config`."""
    return compose_config

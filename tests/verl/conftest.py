"""What the tests that need verl share."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

import cppo_verl.train

CONF = str(Path(cppo_verl.train.__file__).parent / "conf")


@pytest.fixture(scope="session")
def compose_config(repo) -> Callable[..., DictConfig]:
    """`compose_config("key=value", ...)`: the config that `cppo_verl.train` would compose."""

    def composed(*overrides: str) -> DictConfig:
        with initialize_config_dir(CONF, version_base=None):
            path = f"hydra.searchpath=[pkg://verl.trainer.config,file://{repo}/recipe/cppo/config]"
            return compose("cppo_trainer", overrides=[path, *overrides])

    return composed


@pytest.fixture
def config(compose_config) -> Callable[..., DictConfig]:
    """The same; a test file may have another `config`."""
    return compose_config

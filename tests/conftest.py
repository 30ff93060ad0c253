"""What tests of every kind share: where the repository and the data sets are, and composed configs."""

import os
import re
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported: no test may wait for a network
# Before torch is imported: beside other tests, threads that spin while they wait make small matrices 15 times slower.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import settings
from omegaconf import DictConfig

from cppo_verl.config.compose import compose

# Tests run beside others, on slow machines too: no test is about time.
settings.register_profile("cppo", deadline=None)
settings.load_profile("cppo")

# Sets a value in a block. What chooses a file has no dot in its key, or has an @ there.
SETS_A_VALUE = re.compile(r"\+*\w+(\.\w+)+=")
SHARED_RUNS = tuple(f"tests/e2e/test_{name}.py" for name in ("step", "two_ranks", "kills", "grpo_plus"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `-n`: the tests of a file that share a run one after another, every other test by itself."""
    from xdist.scheduler import LoadScopeScheduling

    class SharedRuns(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.split("::")[0]
            return path if path in SHARED_RUNS else nodeid

    return SharedRuns(config, log)


@pytest.fixture(scope="session")
def repo() -> Path:
    """The repository's root."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_sets(repo: Path) -> Path:
    """Where the data sets are, if they are: `CPPO_TEST_DATA`, else `shared/data` next to the repository."""
    return Path(os.environ.get("CPPO_TEST_DATA") or repo.parent / "shared" / "data")


@pytest.fixture(scope="session")
def shared_data(data_sets: Path) -> Path:
    """The folder of data sets, for a test that cannot do without."""
    if not data_sets.is_dir():
        pytest.skip(f"no data sets at {data_sets}; set CPPO_TEST_DATA")
    return data_sets


@pytest.fixture(scope="session")
def compose_config() -> Callable[..., DictConfig]:
    """`compose_config("key=value", ...)`: the config that `cppo-verl train` would compose.

    Reading the files takes a second: it is done once for each choice of them. Values are set in a copy, by the
    method with which Hydra 1.3 sets them after the files.
    """
    of_files = cache(lambda *choices: compose(choices))

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


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    """FSDP2's mesh of one rank on the CPU."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    file = tmp_path_factory.mktemp("ranks") / "store"
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()

"""What tests of every kind share: where the repository and the data sets are."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported: no test may wait for a network
# Before torch is imported: beside other tests, threads that spin while they wait make small matrices 15 times slower.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from hypothesis import settings

# Tests run beside others, on slow machines too: no test is about time.
settings.register_profile("cppo", deadline=None)
settings.load_profile("cppo")

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

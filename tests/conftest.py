"""What tests of every kind share: where the repository and the data sets are."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def repo() -> Path:
    """The repository's root."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data(repo: Path) -> Path:
    """The folder of data sets: `CPPO_TEST_DATA`, else `shared/data` next to the repository."""
    folder = Path(os.environ.get("CPPO_TEST_DATA") or repo.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}; set CPPO_TEST_DATA")
    return folder

"""Where the shared data sets are, for the tests that need real rows."""

import os
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data sets: `CPPO_TEST_DATA`, else `shared/data` next to the repository."""
    folder = Path(os.environ.get("CPPO_TEST_DATA") or REPO.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}; set CPPO_TEST_DATA")
    return folder

"""What a run on GPUs does up to the first call of a GPU, on a machine without one: `bash scripts/gpu_rehearsal.sh`.

It needs the GPU stack (`scripts/setup.sh gpu`) in an environment of its own, and a `libcuda.so.1` that vLLM's
extensions can be linked against. The script sees to both; without it these tests are not collected.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SWITCH = "CPPO_GPU_REHEARSAL"
"""Environment variable that `scripts/gpu_rehearsal.sh` sets."""

if os.environ.get(SWITCH):
    from fake_gpu import pretend_gpus

    pretend_gpus(8)  # before vLLM and verl look
else:
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("gpu_rehearsal")


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """A run's settings for its workers, which each test may set, do not reach the next test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)

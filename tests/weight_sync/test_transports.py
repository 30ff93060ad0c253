"""Ways of weights to engines on other devices: what verl cannot use is reported before a run starts."""

from __future__ import annotations

import re
from importlib.metadata import requires

import pytest
from verl.checkpoint_engine import CheckpointEngineRegistry
from verl_rows import write_model, write_rows

import cppo_verl.weight_sync.file_transport  # noqa: F401  (registers itself, once, in the table that is there)
from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.preflight.check import check
from cppo_verl.weight_sync.transports import transport_fault

SEPARATE = "recipe=toy", "mode=separate_async", "trainer.total_training_steps=1"
BACKEND = "actor_rollout_ref.rollout.checkpoint_engine.backend"


@pytest.fixture
def without_cupy(monkeypatch):
    """verl's table as it is where cupy cannot be imported."""
    there = {name: way for name, way in CheckpointEngineRegistry._registry.items() if name != "nccl"}
    monkeypatch.setattr(CheckpointEngineRegistry, "_registry", there)
    failed = {"nccl_checkpoint_engine": ImportError("No module named 'cupy'")}
    monkeypatch.setattr(CheckpointEngineRegistry, "_import_errors", failed)


def test_a_way_that_verl_has_not_is_refused_with_what_is_missing(without_cupy, config):
    nccl = config(*SEPARATE)
    assert nccl.actor_rollout_ref.rollout.checkpoint_engine.backend == "nccl"
    assert re.search(r"=nccl cannot be used: .*No module named 'cupy'; for nccl: pip install", transport_fault(nccl))


def test_it_is_asked_before_a_run_and_not_for_a_plan(without_cupy, config, tmp_path):
    rows, model = write_rows(tmp_path / "rows.parquet", [f"question {i}" for i in range(100)]), write_model(tmp_path)
    files = f"data.train_files={rows}", f"data.val_files={rows}", f"actor_rollout_ref.model.path={model}"
    cpu = "device=cpu", f"trainer.default_local_dir={tmp_path}/run"
    made = config(*SEPARATE, *cpu, *files, f"{BACKEND}=nccl")
    with pytest.raises(ConfigError, match=r"backend=nccl cannot be used"):
        check(made)
    made.dry_run = True
    check(made)


def test_ways_that_are_there_are_taken(config):
    assert transport_fault(config(*SEPARATE, "device=cpu")) is None, "a file"
    assert transport_fault(config("recipe=toy")) is None, "engines on the devices that train"


def test_a_module_that_is_not_there_is_named(config):
    own = "actor_rollout_ref.rollout.checkpoint_engine.custom_backend_module=no.such.module"
    assert "no.such.module" in transport_fault(config(*SEPARATE, own))


def test_the_gpu_extra_brings_what_nccl_needs(repo):
    """verl's own extra, which is there and holds cupy."""
    named = re.search(r'^gpu = \[.*"verl\[(.+)\]"', (repo / "pyproject.toml").read_text(), re.MULTILINE)
    assert any(line.startswith("cupy") and f'extra == "{named[1]}"' in line for line in requires("verl"))

"""`dry_run=true` says what a run would do, and starts nothing; what it takes of memory and disk."""

from __future__ import annotations

import shutil

import pytest
from verl_rows import write_model, write_rows

from cppo_verl.config import ConfigError
from cppo_verl.preflight import check
from cppo_verl.sizes import GIB, Model, checkpoint_bytes, estimate_memory, read_model
from cppo_verl.train import run

QWEN = Model(parameters=1_543_714_304, layers=28, hidden=1536, vocabulary=151_936)
"""Qwen2.5-1.5B-Instruct."""


@pytest.fixture
def model(tmp_path):
    """A model's folder, without weights."""
    return write_model(tmp_path)


def test_a_run_is_planned_and_not_started(config, model, tmp_path, capsys):
    rows = write_rows(tmp_path / "rows.parquet", [f"question {i}" for i in range(100)])
    files = (f"data.train_files={rows}", f"data.val_files={rows}", f"actor_rollout_ref.model.path={model}")
    run(
        config(
            "recipe=gsm8k",
            "dry_run=true",
            "cppo.pruning_rate=0.75",
            *files,
            f"trainer.default_local_dir={tmp_path}/run",
        )
    )
    said = capsys.readouterr().out
    assert "0.75, 16, 4" in said and "100, 32 a step" in said, "also without the two GPUs it plans for"
    assert "512 sampled, 128 trained" in said and "3 (1 epoch(s))" in said
    assert "1,048,576 sampled a step, 524,288 through each forward" in said
    assert not (tmp_path / "run").exists()


def test_sizes_of_a_model_come_from_its_config(model):
    found = read_model(str(model))
    attention = 64 * 64 + 64 + 2 * (64 * 32 + 32) + 64 * 64
    layer = attention + 3 * 64 * 96 + 2 * 64
    assert found == Model(parameters=100 * 64 + 2 * layer + 64, layers=2, hidden=64, vocabulary=100)


def test_memory_of_the_published_run_by_hand(config):
    """2 GPUs, micro-batches of 4,096 tokens."""
    memory = estimate_memory(config("recipe=gsm8k"), QWEN)
    assert memory.policy == 16 * QWEN.parameters // 2
    assert memory.reference == 4 * QWEN.parameters // 2
    assert memory.logits == 2 * 4 * 4096 * 151_936
    assert 19 < memory.total / GIB < 21
    offloaded = (
        "actor_rollout_ref.actor.fsdp_config.param_offload=true",
        "actor_rollout_ref.actor.fsdp_config.optimizer_offload=true",
        "actor_rollout_ref.ref.fsdp_config.param_offload=true",
    )
    assert estimate_memory(config("recipe=gsm8k", *offloaded), QWEN).policy == 0


def test_a_checkpoint_of_the_published_run_by_hand(config):
    assert checkpoint_bytes(config("recipe=gsm8k"), QWEN) == 12 * QWEN.parameters
    weights_only = "actor_rollout_ref.actor.checkpoint.save_contents=[model]"
    assert checkpoint_bytes(config("recipe=gsm8k", weights_only), QWEN) == 4 * QWEN.parameters


def test_a_disk_too_small_for_a_checkpoint_is_refused(config, model, tmp_path, monkeypatch):
    rows = write_rows(tmp_path / "rows.parquet", [f"question {i}" for i in range(100)])
    files = (f"data.train_files={rows}", f"data.val_files={rows}", f"actor_rollout_ref.model.path={model}")
    run = config("recipe=toy", "device=cpu", *files, f"trainer.default_local_dir={tmp_path}/run")
    run.trainer.save_freq = 1
    needed = 25 * 12 * read_model(str(model)).parameters  # of 100 questions, 4 a step, and none goes
    run.trainer.max_actor_ckpt_to_keep = None
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2 * needed, needed + 1, needed - 1))
    with pytest.raises(ConfigError, match=f"{tmp_path} has 0.0 GiB free; make room.*save none: trainer.save_freq=-1"):
        check(run)
    run.trainer.save_freq = -1
    check(run)

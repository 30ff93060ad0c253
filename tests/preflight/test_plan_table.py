"""`cppo-verl plan` says what a run would do, and starts nothing; what it takes of memory and disk."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from verl_rows import TINY, write_model, write_rows

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.hardware.estimates import checkpoint_bytes, estimate_memory, read_model
from cppo_verl.hardware.fit_command import find_model
from cppo_verl.hardware.memory import GIB
from cppo_verl.preflight.check import check
from cppo_verl.train import run

QWEN = find_model("qwen2.5-1.5b")
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
    assert "256 completions an engine, all at a time" in said
    assert "512 sampled, 128 trained" in said and "3 (1 epoch(s))" in said
    assert "1,048,576 sampled a step, 524,288 through each forward" in said
    assert "128 completions, of 32 questions" in said and "6, 6 an epoch" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("actor_rollout_ref.rollout.max_num_seqs=100", ("256 completions an engine, 100 at a time (actor_rollout",)),
        (
            "cppo.mini_batch=questions",
            ("4 of 32 completions, 2 time(s)", "32 completions, of 8 questions", "24, 24 an epoch", "1e-06"),
        ),
        ("cppo.lr_scale=sqrt", ("6, 6 an epoch", "2e-06 (1e-06 times 2)", "at a learning rate of 2e-06")),
    ],
)
def test_what_an_update_is_of_is_planned(options, says, config, model, tmp_path, capsys):
    rows = write_rows(tmp_path / "rows.parquet", [f"question {i}" for i in range(100)])
    files = f"data.train_files={rows}", f"data.val_files={rows}", f"actor_rollout_ref.model.path={model}"
    folder = f"trainer.default_local_dir={tmp_path}/run"
    run(config("recipe=gsm8k", "dry_run=true", "cppo.pruning_rate=0.75", options, *files, folder))
    said = capsys.readouterr().out
    for text in says:
        assert text in said


def test_sizes_of_a_model_come_from_its_config(model):
    found = read_model(str(model))
    attention = 64 * 64 + 64 + 2 * (64 * 32 + 32) + 64 * 64
    layer = attention + 3 * 64 * 96 + 2 * 64
    assert found == replace(TINY, parameters=100 * 64 + 2 * layer + 64)
    assert found.layer == layer + 32, "the last norm is shared out"


def test_memory_of_the_published_run_by_hand(config):
    """2 GPUs, micro-batches of 4,096 tokens."""
    memory = estimate_memory(config("recipe=gsm8k"), QWEN)
    assert (memory.weights, memory.gradients, memory.optimizer) == tuple(n * QWEN.parameters // 2 for n in (4, 4, 8))
    assert memory.reference == 0, "verl keeps it on the CPU"
    assert memory.logits == (3 * 2 * 4096 + 4 * 512) * 151_936
    assert 16 < memory.total / GIB < 18
    offload = ("param_offload=true", "optimizer_offload=true")
    offloaded = [f"actor_rollout_ref.actor.fsdp_config.{option}" for option in offload]
    assert estimate_memory(config("recipe=gsm8k", *offloaded), QWEN) == memory, "all of it comes back for an update"
    always = estimate_memory(config("recipe=gsm8k", "actor_rollout_ref.actor.fsdp_config.offload_policy=true"), QWEN)
    assert (always.resident, always.gradients, always.total) == (0, 0, memory.total - 16 * QWEN.parameters // 2)


def test_memory_of_adapters_and_of_the_cpu(config):
    lora = estimate_memory(config("recipe=gsm8k", "actor_rollout_ref.model.lora_rank=8"), QWEN)
    linear = 2 * (1536 + 1536) + 2 * (1536 + 256) + 3 * (1536 + 8960)
    assert lora.gradients == 4 * 28 * 8 * linear // 2
    on_cpu = estimate_memory(config("recipe=gsm8k", "device=cpu"), QWEN)
    assert on_cpu.reference == 4 * QWEN.parameters
    assert (on_cpu.logits, on_cpu.step) == ((3 * 4096 + 2 * 512) * 4 * 151_936, 0)


def test_a_checkpoint_of_the_published_run_by_hand(config):
    assert checkpoint_bytes(config("recipe=gsm8k"), QWEN) == 12 * QWEN.parameters
    weights_only = "actor_rollout_ref.actor.checkpoint.save_contents=[model]"
    assert checkpoint_bytes(config("recipe=gsm8k", weights_only), QWEN) == 4 * QWEN.parameters


def test_a_disk_too_small_for_a_checkpoint_is_refused(config, model, tmp_path, monkeypatch):
    rows = write_rows(tmp_path / "rows.parquet", [f"question {i}" for i in range(100)])
    files = (f"data.train_files={rows}", f"data.val_files={rows}", f"actor_rollout_ref.model.path={model}")
    run = config("recipe=toy", "device=cpu", *files, f"trainer.default_local_dir={tmp_path}/run")
    run.trainer.save_freq = 1
    needed = 12 * 12 * read_model(str(model)).parameters  # of 100 questions, 8 per step, and none goes
    run.trainer.max_actor_ckpt_to_keep = None
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2 * needed, needed + 1, needed - 1))
    with pytest.raises(ConfigError, match=f"{tmp_path} has 0.0 GiB free; make room.*save none: trainer.save_freq=-1"):
        check(run)
    run.trainer.save_freq = -1
    check(run)

"""Models of other families than Qwen2.5's, two layers each, and adapters: trained, saved, evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from families import TEXT, write_family
from recorded import different, read_metrics, weights
from safetensors.torch import load_file
from verl_rows import write_rows

from cppo_verl.evaluation.models import export
from cppo_verl.hardware.trainable import BESIDE_IMAGES

REWARD = """
def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return float(sum(solution_str.encode()) % 2)
"""
RANK, ALPHA = 8, 32
"""Of the adapter: what it adds counts four times."""
LORA = (
    f"actor_rollout_ref.model.lora_rank={RANK}",
    f"actor_rollout_ref.model.lora_alpha={ALPHA}",
    "actor_rollout_ref.rollout.load_format=safetensors",
    "actor_rollout_ref.actor.optim.lr=1e-2",
)


@pytest.fixture
def learn(train, tmp_path) -> Callable[..., Path]:
    """`learn(model, "key=value", ...)`: the folder of two steps of CPPO, with rewards as by lot: they differ."""
    rows = write_rows(tmp_path / "rows.parquet", [f"How many are {number}?" for number in range(32)])
    (tmp_path / "by_lot.py").write_text(REWARD)

    def learn(model: Path, *overrides: str) -> Path:
        run = train(
            "run",
            *(f"actor_rollout_ref.model.path={model}", f"data.train_files={rows}", f"data.val_files={rows}"),
            *(f"reward.custom_reward_function.path={tmp_path}/by_lot.py", "cppo.pruning_rate=0.5"),
            *("trainer.save_freq=2", "trainer.test_freq=2", *overrides),
        )
        return run.folder

    return learn


@pytest.mark.slow
@pytest.mark.parametrize("family", [family for family in TEXT if TEXT[family][0] not in BESIDE_IMAGES])
def test_a_family_is_trained_saved_and_evaluated(family, learn, evaluate, tmp_path):
    run = learn(write_family(tmp_path / "model", family))
    steps = read_metrics(run)
    assert all(steps[step]["actor/grad_norm"] > 0 for step in (1, 2))
    assert all(torch.isfinite(values).all() for values in weights(run, 2).values())
    results = evaluate("evaluated", f"model={run}") / "results.json"
    assert json.loads(results.read_text())["benchmarks"]["toy"]["questions"] == 16


@pytest.mark.slow
def test_adapters_are_trained_saved_exported_evaluated_and_resumed(learn, evaluate, tmp_path):
    """The export is base + B·A·alpha/r, computed by hand from the checkpoint, in bfloat16."""
    run = learn(write_family(tmp_path / "model", "qwen2"), *LORA)
    saved = {name.removeprefix("0:"): values.float() for name, values in weights(run, 2).items()}
    exported = load_file(export(run / "global_step_2") / "model.safetensors")
    base = load_file(tmp_path / "model/model.safetensors")
    adapted = 0
    for name, values in exported.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        by_hand = base[name].float()
        if f"{module}.lora_A.default.weight" in saved:
            a, b = (saved[f"{module}.lora_{part}.default.weight"] for part in "AB")
            by_hand = by_hand + ALPHA / RANK * b @ a
            adapted += bool(b.any())
        torch.testing.assert_close(values.float(), by_hand, rtol=2**-7, atol=2**-9)
    assert adapted == 2 * 7, "all linear layers of both layers, none of them still at zero"
    results = evaluate("evaluated", f"model={run}/global_step_2") / "results.json"
    assert json.loads(results.read_text())["benchmarks"]["toy"]["questions"] == 16
    before = weights(run, 2)
    run = learn(tmp_path / "model", *LORA, "trainer.total_training_steps=4")
    assert list(read_metrics(run)) == [1, 2, 3, 4]
    moved = different(before, weights(run, 4))
    assert moved and all("lora_" in name for name in moved)

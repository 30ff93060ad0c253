"""What a training run wrote down: metrics, weights, and the calls of its instrumented workers."""

from __future__ import annotations

import json
from pathlib import Path

import torch


def read_calls(folder: Path) -> list[dict]:
    """The calls a rank wrote down, in order."""
    return [torch.load(path, weights_only=False) for path in sorted(folder.glob("*.pt"))]


def of_kind(calls: list[dict], kind: str) -> list[dict]:
    """The calls of a rank that were `kind`."""
    return [call for call in calls if call["kind"] == kind]


def read_metrics(folder: Path) -> dict[int, dict]:
    """Logged metrics by step."""
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len({entry["step"] for entry in entries}) == len(entries), "a step stands there twice"
    return {entry["step"]: entry["data"] for entry in entries}


def weights(run: Path, step: int, model: str = "actor") -> dict[str, torch.Tensor]:
    """A checkpoint's model, or its `critic`, each rank's part of it under `rank:name`."""
    parts = sorted((run / f"global_step_{step}/{model}").glob("model_world_size_*_rank_*.pt"))
    states = [torch.load(part, weights_only=False) for part in parts]
    return {
        f"{rank}:{name}": getattr(tensor, "_local_tensor", tensor)
        for rank, state in enumerate(states)
        for name, tensor in state.items()
    }


def different(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """The names of the weights in which two models are not bit-identical."""
    return [name for name in {**one, **other} if not torch.equal(one[name], other[name])]

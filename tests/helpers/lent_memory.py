"""verl's transfer of weights in buckets, on a machine without a GPU."""

from types import ModuleType, SimpleNamespace

import pytest


def without_gpu(transfer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have verl's `bucketed_weight_transfer` allocate on the CPU; handles of memory are the caller's to replace."""
    device = SimpleNamespace(synchronize=lambda: None, empty_cache=lambda: None, ipc_collect=lambda: None)
    monkeypatch.setattr(transfer, "get_torch_device", lambda: device)
    monkeypatch.setattr(transfer, "get_device_name", lambda: "cpu")
    monkeypatch.setattr(transfer, "get_device_id", lambda: 0)

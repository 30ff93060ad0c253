"""Stands for verl's TransferQueue, in this process: what is put is kept in dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import transfer_queue as tq
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.utils.tensordict_utils import list_of_dict_to_tensordict


class StandInQueue:
    """Takes the place of `transfer_queue`'s functions that agent loops and trainers call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.tags: dict[str, dict[str, Any]] = {}
        """By key, of questions and completions."""
        self.rows: dict[str, dict[str, Any]] = {}
        """Columns of completions, by key."""
        self.puts: list[list[str]] = []
        """Keys of each put of completions."""
        monkeypatch.setattr(tq, "init", lambda *_: None)
        monkeypatch.setattr(tq, "async_kv_put", self._async(self._put))
        monkeypatch.setattr(tq, "async_kv_batch_put", self._async(self._put_rows))
        for name in ("put", "list", "clear", "batch_get", "batch_put"):
            method = {"batch_get": self._get_rows, "batch_put": self._put_rows}.get(name) or getattr(self, f"_{name}")
            monkeypatch.setattr(tq, f"kv_{name}", method)

    @staticmethod
    def _async(method):
        async def called(**kwargs):
            return method(**kwargs)

        return called

    def _put(self, key: str, partition_id: str, tag: dict[str, Any]) -> None:
        self.tags.setdefault(key, {}).update(tag)

    def _put_rows(self, keys: Sequence[str], partition_id: str, tags=None, fields: TensorDict | None = None):
        if tags:
            for key, tag in zip(keys, tags, strict=True):
                self._put(key, partition_id, tag)
        if fields is not None:
            self.puts.append(list(keys))
            for position, key in enumerate(keys):
                row = {name: column[position] for name, column in fields.items()}
                self.rows.setdefault(key, {}).update(row)
        return KVBatchMeta(partition_id=partition_id, keys=list(keys), tags=[self.tags.get(key) for key in keys])

    def _list(self, partition_id: str = "train") -> dict[str, dict[str, Any]]:
        return {partition_id: {key: dict(tag) for key, tag in self.tags.items()}}

    def _clear(self, keys: Sequence[str], partition_id: str) -> None:
        for key in keys:
            del self.tags[key]  # a key that is not there is an error
            self.rows.pop(key, None)

    def _get_rows(self, keys: Sequence[str], partition_id: str, select_fields: Sequence[str]) -> TensorDict:
        rows = [{name: plain(self.rows[key][name]) for name in select_fields} for key in keys]
        return list_of_dict_to_tensordict(rows)


def plain(value: Any) -> Any:
    """A column's value of a row, without TensorDict's wrapping."""
    return value if isinstance(value, torch.Tensor) else getattr(value, "data", value)

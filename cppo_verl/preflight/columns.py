"""Columns of a run's files that verl cannot read, or put together: it reads each by `datasets`, and joins them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from omegaconf import DictConfig

from cppo_verl.algorithm.errors import first_line
from cppo_verl.preflight.data import SPLITS, paths


def column_faults(config: DictConfig) -> Iterator[str]:
    """Files written by another version of `datasets`, and files of a split whose columns are of different types."""
    for split in SPLITS:
        seen: dict[str, tuple[Any, Path]] = {}
        for path in paths(config.data[f"{split}_files"]):
            try:
                of_file = _types(_features(path))
            except (ValueError, TypeError, KeyError) as error:
                yield f"data.{split}_files: {_unreadable(path, error)}"
                continue
            differing = [name for name, kind in of_file.items() if kind != seen.setdefault(name, (kind, path))[0]]
            if differing:
                name = differing[0]
                yield (
                    f"data.{split}_files: {name} is {_named(of_file[name])} in {path} and {_named(seen[name][0])} in "
                    f"{seen[name][1]}"
                    + (f" (and {len(differing) - 1} more fields differ)" if differing[1:] else "")
                    + "; the files are read as one table: write both with the same type"
                )


def _features(path: Path) -> Mapping[str, Any]:
    """A file's columns, as `datasets` reads them from its schema and from what it has written into it."""
    from datasets import Features

    return Features.from_arrow_schema(pq.read_schema(path))


def _types(features: Any, prefix: str = "") -> dict[str, Any]:
    """The types of all columns, of those in columns under names such as `extra_info.index`; without those of no type,
    which all columns of which hold nothing have."""
    from datasets import Value

    if isinstance(features, dict):
        parts = [_types(kind, f"{prefix}.{name}" if prefix else name) for name, kind in features.items()]
        return {name: kind for part in parts for name, kind in part.items()} | ({prefix: "a struct"} if prefix else {})
    is_empty = features == Value("null") or getattr(features, "feature", None) == Value("null")
    return {} if is_empty else {prefix: features}


def _named(kind: Any) -> str:
    is_plain = hasattr(kind, "dtype") and not hasattr(kind, "feature")
    return kind.dtype if is_plain else str(kind)


def _unreadable(path: Path, error: Exception) -> str:
    from datasets import __version__

    return (
        f"{path} cannot be read by the installed datasets {__version__} ({first_line(error)}): "
        "another version wrote its columns' types into it; write it again, for example by pandas: "
        f"pd.read_parquet({str(path)!r}).to_parquet(...)"
    )

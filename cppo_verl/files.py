"""Files that are written so that a kill leaves the old content or the new, and that do not pile up."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a whole file or none: under another name first, then renamed."""
    partial = path.with_name(f".{path.name}.tmp")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)


def keep_latest(folder: Path, keep: int, upto: int) -> None:
    """Delete all but the last `keep` files `N.jsonl` of a folder, by N; those after `upto` are an earlier start's,
    and stay until they are written again."""
    dumps = [path for path in folder.glob("*.jsonl") if path.stem.isdigit() and int(path.stem) <= upto]
    for old in sorted(dumps, key=lambda path: int(path.stem))[:-keep]:
        old.unlink()

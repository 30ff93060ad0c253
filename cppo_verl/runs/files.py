"""Files that are written so that a kill leaves the old content or the new, and that do not pile up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cppo_verl.algorithm.errors import ConfigError

LOCK = ".lock"


class InUse(ConfigError):
    """Another process writes into the folder."""


@contextmanager
def alone_in(folder: Path, name: str = LOCK, wait: float = 0) -> Iterator[None]:
    """Nobody else who asks for it may write into the folder meanwhile; the lock ends with the process, however it ends.

    Args:
        folder: Is made.
        name: Of the lock, a file in the folder: those who write together have one each.
        wait: Seconds to wait for somebody else's end.

    Raises:
        InUse: Somebody else writes there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / name)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise InUse(f"another run writes into {folder}: wait for its end, or give another folder") from None
    try:
        yield
    finally:
        lock.release()


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a whole file or none, also if the machine stops: under another name first, then renamed."""
    partial = path.with_name(f".{path.name}.tmp")
    with partial.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def keep_latest(folder: Path, keep: int, upto: int) -> None:
    """Delete all but the last `keep` files `N.jsonl` of a folder, by N; those after `upto` are an earlier start's,
    and stay until they are written again."""
    dumps = [path for path in folder.glob("*.jsonl") if path.stem.isdigit() and int(path.stem) <= upto]
    for old in sorted(dumps, key=lambda path: int(path.stem))[:-keep]:
        old.unlink()

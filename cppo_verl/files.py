"""Writing files so that a kill leaves the old content or the new, never a part."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a whole file or none: under another name first, then renamed."""
    partial = path.with_name(f".{path.name}.tmp")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)

"""The output of this process, and of whatever it loads and starts, into a file."""

from __future__ import annotations

import ctypes
import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

STREAMS = 1, 2
"""File descriptors of standard output and standard error."""


@contextmanager
def redirected(log: Path, header: str) -> Iterator[TextIO]:
    """Append what is written to standard output and error to a file, also by C and C++ code and by child processes.

    Args:
        log: The file; its folder is made.
        header: What the file is told first.

    Yields:
        The standard output there was, unbuffered by the line. Child processes do not hold it open.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    _flush()
    with ExitStack() as stack:
        real = {stream: os.dup(stream) for stream in STREAMS}
        for copy in real.values():
            stack.callback(os.close, copy)
        with log.open("a", buffering=1) as file:
            file.write(header)
            for stream in STREAMS:
                os.dup2(file.fileno(), stream)
        _write_by_lines()
        stack.callback(_restore, real)
        yield stack.enter_context(open(os.dup(real[1]), "w", buffering=1, encoding="utf-8", errors="replace"))


def _restore(real: dict[int, int]) -> None:
    _flush()
    for stream, copy in real.items():
        os.dup2(copy, stream)


def _flush() -> None:
    """Of Python's streams and of C's, so that what was written before a change goes to where it was meant for."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a full disk, or a stream that is closed
            stream.flush()
    ctypes.CDLL(None).fflush(None)


def _write_by_lines() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)

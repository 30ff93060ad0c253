"""Processes that end with those that started them, also where those are killed and can end nothing."""

from __future__ import annotations

import os
import threading
import time

import psutil

ORPHANED = 75
"""Exit code of a process that ended for this reason."""
EVERY = 0.5
"""Seconds between two looks."""


def end_with(*starters: int) -> None:
    """End this process at once, whatever it is doing, when one of these has ended.

    Args:
        starters: Process ids.
    """
    found = [_find(pid) for pid in starters]

    def watch() -> None:
        while all(map(_is_there, found)):
            time.sleep(EVERY)
        os._exit(ORPHANED)

    threading.Thread(target=watch, name="end_with", daemon=True).start()


def _find(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _is_there(process: psutil.Process | None) -> bool:
    """Whether it runs; one that is killed stays a zombie until its own starter asks for it."""
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

"""The terminal, or the file, that results are shown on."""

import sys

from rich.console import Console

WIDTH_OFF_TERMINAL = 140
"""rich would take 80 columns, which cuts the tables' heads."""


def open_console() -> Console:
    """As wide as the terminal, or, off one, wide enough for the tables."""
    return Console(width=None if sys.stdout.isatty() else WIDTH_OFF_TERMINAL)

"""Which of the lines that a run's processes print are errors."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PROCESS = re.compile(r"(?:\((?:raylet|[^()]*\bpid=[^()]*)\) )+")
"""Of which process a line is: what Ray, and in its line vLLM, put before it."""
_NAME = r"(?:ERROR|CRITICAL|FATAL)"
_LEVEL = re.compile(
    "|".join(
        (
            rf"{_NAME} [\d-]+ [\d:]+ \[[^\]]*\] ?",  # vLLM
            rf"{_NAME}:(?:[\d-]+ [\d:,]+:|[\w.]+:)",  # verl; Python's logging as it comes
            rf"[\d-]+ [\d:,]+\s+{_NAME} \S+ -- ",  # Ray
            r"\[[\d-]+ [\d:,]+ [EF] \d+ \d+\] ",  # Ray's processes
            r"(?:\[rank\d+\]:)?[EF]\d{4} [\d:.]+ \d+ \S+\] ",  # torch
            r"(?=Fatal Python error: )",
        )
    )
)
_TRACEBACK = "Traceback (most recent call last):"
_ON_PURPOSE = ("KeyboardInterrupt", "SystemExit")


class LogErrors:
    """Is given the lines of a log one after another, those of several processes mixed; each error is told once.

    An error is a line that a logger marks as one, and of a traceback its last line, which names the exception. The
    driver's own tracebacks, which no process is named before, are left out: what it ends with is told anyway.
    """

    def __init__(self):
        self._told: set[str] = set()
        self._in_traceback: set[str] = set()
        """The processes whose last lines were of a traceback."""

    def read(self, line: str) -> str | None:
        """The error that a line tells, with its process; None of other lines, and of what was told before."""
        line = _COLOUR.sub("", line).rstrip()
        process, text = _split(_PROCESS, line)
        mark, text = _split(_LEVEL, text)
        is_end = self._ends_traceback(process, text)
        if not (is_end or mark or text.startswith("Fatal Python error: ")) or process in self._in_traceback:
            return None
        if text in self._told or not text or text.startswith(_ON_PURPOSE) or (is_end and not process):
            return None
        self._told.add(text)
        return process + text

    def _ends_traceback(self, process: str, text: str) -> bool:
        if text.startswith(_TRACEBACK):
            self._in_traceback.add(process)
        elif process in self._in_traceback and text and not text[0].isspace():
            self._in_traceback.remove(process)
            return True
        return False


def without_process(line: str) -> str:
    """A line without colours and the name of its process."""
    return _split(_PROCESS, _COLOUR.sub("", line).rstrip())[1]


def _split(pattern: re.Pattern, line: str) -> tuple[str, str]:
    """What of a line's beginning matches, and the rest."""
    end = found.end() if (found := pattern.match(line)) else 0
    return line[:end], line[end:]

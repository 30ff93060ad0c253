"""What a comparison worker runs: its limits, and math-verify itself (see `symbolic`, which owns the pool)."""

from __future__ import annotations

import logging
import math
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Literal

from latex2sympy2_extended.latex2sympy2 import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify

Outcome = Literal["equal", "different", "no_answer", "too_long", "unparseable", "bad_gold", "timed_out", "crashed"]

MEMORY_BYTES = 1 << 30  # on top of what a fresh worker maps
ALARM_MARGIN_S = 2.0  # the pool kills at the limit; the alarm is for when there is no pool any more


def prepare_worker() -> None:
    """Initializer: warm math-verify up, then put the limits on. Runs before the first task's clock."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # pebble's handler is Python and waits for C calls to end
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its own limits are off
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _parse("\\frac{1}{2}")  # compiles its patterns; slow only the first time
    if sys.platform == "linux":  # elsewhere the limit is not enforced
        with open("/proc/self/statm") as statm:
            mapped = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES,) * 2)


def compare(gold: str, answer: str, limit: float, tolerance: float = 0.0) -> Outcome:
    """Compare two cleaned LaTeX strings in at most about `limit` seconds; sympy may raise anything."""
    with _alarm(limit + ALARM_MARGIN_S):
        if not (reference := _parse_cached(gold)):
            return "bad_gold"
        if not (target := _parse(answer)):
            return "unparseable"
        try:
            same = verify(reference, target, timeout_seconds=None, raise_on_error=True)
        except ValueError:  # math-verify refuses a side without a value, such as 1/0 or the ratio in 5:00
            return "different"
        return "equal" if same or (tolerance and _distance(reference, target) <= tolerance) else "different"


def _distance(reference: list, target: list) -> float:
    """Between two numbers, to nine digits, so that 4.1 is 0.1 from 4.2; infinite if either is not one."""
    try:
        return round(abs(float(reference[0] - target[0])), 9)
    except (AttributeError, TypeError, ValueError):  # sympy's ways to say that a set or a symbol is no number
        return math.inf


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _reading(*, units: bool) -> LatexExtractionConfig:
    """How to read LaTeX; `units=False` keeps what looks like a unit: the t of sin^2 t, the c of a + b + c."""
    normalization = NormalizationConfig(basic_latex=True, units=units, malformed_operators=True, nits=True)
    return LatexExtractionConfig(boxed_match_priority=-1, normalization_config=normalization)


def _parse(latex: str) -> list:
    """Sympy expressions of cleaned LaTeX, empty if it cannot be read.

    No fallback to the bare string: math-verify's is cut where a unit was thought to stand, and would call
    `a + b` equal to `a + b + c`. Identical strings were accepted before a worker is asked.
    """
    for units in (True, False):
        found = parse(
            f"${latex}$",
            [_reading(units=units)],
            fallback_mode="no_fallback",
            parsing_timeout=None,
            raise_on_error=True,
        )
        if found:
            return found
    return []


_parse_cached = lru_cache(maxsize=256)(_parse)  # one gold meets the G answers of its question

"""The thresholds of the rollout correction: numbers and ranges, as verl 0.9.1 reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

CORRECTION = "algorithm.rollout_correction"
WEIGHT, LIMITS = f"{CORRECTION}.rollout_is_threshold", f"{CORRECTION}.rollout_rs_threshold"
QUOTES = "a range needs quotes, as in '{}=\"0.5_2.0\"': 0.5_2 without them is the number 0.52"


def threshold_faults(options: Mapping[str, Any]) -> Iterator[str]:
    """Thresholds that are none, are missing, or would be ignored.

    Args:
        options: Those of `algorithm.rollout_correction`.
    """
    given = options.get("rollout_is_threshold", 2.0)
    if options.get("rollout_is") and not _is_range(given):
        yield (
            f"{WEIGHT}={given} must be the largest weight, from 1, or a range of weights around 1, outside of which "
            f"they are 0; {QUOTES.format(WEIGHT)}"
        )
    given, words = options.get("rollout_rs_threshold"), rejections(options.get("rollout_rs"))
    if words:
        yield from _limit_faults(words, given)
    elif given is not None:
        yield f"{LIMITS}={given} would be ignored: {CORRECTION}.rollout_rs is null; set it, or {LIMITS}=null"


def rejections(given: object) -> list[str]:
    """The words of `rollout_rs`, each once."""
    words = (word.strip() for word in given.split(",")) if isinstance(given, str) else ()
    return list(dict.fromkeys(word for word in words if word))


def _limit_faults(words: list[str], given: object) -> Iterator[str]:
    """Of `rollout_rs`: one limit for each word, or one for all."""
    if given is None:
        yield f"{CORRECTION}.rollout_rs={','.join(words)} needs {LIMITS}: one for each word, with commas, or one"
        return
    limits = [limit.strip() for limit in str(given).split(",") if limit.strip()]
    if isinstance(given, bool) or len(limits) not in (1, len(words)):
        found = f"{len(limits)} thresholds for {len(words)} words of rollout_rs"
        yield f"{LIMITS}={given} has {found}; give one, or as many"
        return
    for word, limit in zip(words, limits * len(words) if len(limits) == 1 else limits, strict=True):
        if word.endswith("k1") and not _is_range(limit):
            said = f"{limit} of {word} must be the largest ratio, from 1, or a range of ratios"
            yield f"{LIMITS}={given}: {said}; {QUOTES.format(LIMITS)}"
        elif not word.endswith("k1") and not (_number(limit) or 0) > 0:
            yield f"{LIMITS}={given}: {limit} of {word} must be a number above 0, the largest divergence"


def _is_range(given: object) -> bool:
    """Whether it is a number from 1, or two above 0 in their order with `_` between them."""
    low, dash, high = str(given).partition("_")
    if isinstance(given, bool) or not dash:
        return not isinstance(given, bool) and (_number(given) or 0) >= 1
    return 0 < (_number(low) or 0) <= (_number(high) or 0)


def _number(given: object) -> float | None:
    try:
        return float(given)
    except (TypeError, ValueError):
        return None

"""A run's events in words, a line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cppo_verl.watch.progress import Event


def describe(event: Event) -> str | None:
    """An event in a line; None of those that have none."""
    words = {"step": _step, "validation": _validation, "checkpoint": _checkpoint}.get(event["event"])
    return words(event) if words else event.get("text")


def started(waits: Sequence[tuple[str, float]], ready: float) -> str:
    """How long a start took, and what of it.

    Args:
        waits: What was waited for, and since when (seconds since any time), in order.
        ready: When the last of it was there.
    """
    names, since = zip(*waits, strict=True)
    lasted = [after - before for before, after in zip(since, [*since[1:], ready], strict=True)]
    each = ", ".join(
        f"{name.removeprefix('the ')} {seconds:.0f} s" for name, seconds in zip(names, lasted, strict=True)
    )
    return f"started in {sum(lasted):.0f} s: {each}"


def _step(event: Event) -> str:
    return "  ".join(_parts(event, len(str(event["steps"]))))


def _parts(event: Event, width: int) -> Iterator[str]:
    yield f"step {event['step']:{width}}/{event['steps']}"
    if "reward" in event:
        yield f"reward {event['reward']:.2f}"
    if "accuracy" in event:
        yield f"accuracy {event['accuracy']:3.0%}"
    if "length" in event:
        yield f"length {event['length']:.0f}"
    if "kept" in event:
        yield f"kept {event['kept']:.0f}/{event['sampled']:.0f}"
    if "zero_variance" in event:
        yield f"zero-variance {event['zero_variance']:.0f}/{event['questions']:.0f}"
    yield f"generation {_seconds(event['generation_s'])}"
    yield f"training {_seconds(event['training_s'])}"


def _validation(event: Event) -> str:
    when = f"after step {event['step']}" if event["step"] else "before training"
    result = f"accuracy {event['accuracy']:.1%}" if "accuracy" in event else "done"
    questions = f" of {event['questions']:.0f} questions" if "questions" in event else ""
    best = ", the best so far" if event.get("best") else ""
    return f"validation {when}: {result}{questions}{best} ({_seconds(event['seconds'])})"


def _checkpoint(event: Event) -> str:
    return f"checkpoint after step {event['step']}: {Path(event['path']).name} ({_seconds(event['seconds'])})"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 99.95 else f"{seconds:.0f} s"

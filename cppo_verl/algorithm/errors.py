"""What cannot work, and how it is said: the offending value, and the nearest that does."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence


class ConfigError(ValueError):
    """Settings that cannot work, a message each; it names the setting and the nearest one that does."""

    def __str__(self) -> str:
        return "\n       ".join(map(str, self.args))


def not_one_of(key: str, value: object, choices: Sequence[str]) -> Iterator[str]:
    """What to say of a value that is none of the choices; nothing where it is one."""
    if value not in choices:
        yield f"{key}={value!r} is not one of {', '.join(choices)}; did you mean {nearest_word(value, choices)}?"


def nearest_word(value: object, words: Sequence[str]) -> str:
    """The word that looks most like a value."""
    return difflib.get_close_matches(str(value), words, n=1, cutoff=0.0)[0]


def first_line(error: BaseException) -> str:
    """The first line of an error's text that is not empty; its kind where there is none."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)

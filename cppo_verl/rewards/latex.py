"""Reading a boxed answer out of text."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is text, not structure
_TOKEN = re.compile(r"\s*(\\[a-zA-Z]+|[0-9]|[a-zA-Z](?![a-zA-Z]))")


def last_boxed(text: str) -> str | None:
    r"""What the last `\boxed` or `\fbox` holds: `{…}` with nested braces, or one token (`\boxed 2`), as TeX reads it.

    None without a box, or when the last one is not closed. A `\boxed` that is only spoken of, before a word or a full
    stop, is none. Linear in the length of the text.
    """
    for box in reversed(list(_BOX.finditer(text))):
        if text[box.end() :].lstrip()[:1] == "{":
            return _group(text, text.index("{", box.end()))
        if token := _TOKEN.match(text, box.end()):
            return token[1]
    return None


def _group(text: str, start: int) -> str | None:
    depth = 0
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[start + 1 : brace.start()].strip()
    return None

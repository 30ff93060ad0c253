"""Reading a boxed answer out of text, and the small clean-up both sides get before they are compared."""

from __future__ import annotations

import re

_BOXED = "\\boxed"
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is text, not structure
_TOKEN = re.compile(r"\s*(\\[a-zA-Z]+|[^\s\\{}$])")

_CLEANUPS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\s+", " "),
        (r",?\\!", ""),  # 32,\!000
        (r"\\?\$", ""),  # currency, and dollar signs inside the box
        (r" ?\\?%", ""),  # as in MATH's own grader: 64\% is 64
        (r"\\(?:left|right|phantom|approx)(?![a-zA-Z])", ""),
        (r"\\[dt]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\frac ?(\\pi) ?([0-9])", r"\\frac{\1}{\2}"),  # math-verify garbles \frac\pi 2
    ]
]


def last_boxed(text: str) -> str | None:
    r"""What the last `\boxed` holds: `{…}` with nested braces, or one token (`\boxed 2`), as TeX reads it.

    None without a box, or when the last one is not closed. Linear in the length of the text.
    """
    start = text.rfind(_BOXED)
    if start < 0:
        return None
    start += len(_BOXED)
    if not text[start:].lstrip().startswith("{"):
        token = _TOKEN.match(text, start)
        return token[1] if token else None
    start = text.index("{", start)
    depth = 0
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[start + 1 : brace.start()].strip()
    return None


def clean(latex: str) -> str:
    """Plainer LaTeX of the same answer: one kind of fraction; no sizing, currency, percent or final dot."""
    for pattern, replacement in _CLEANUPS:
        latex = pattern.sub(replacement, latex)
    return latex.strip().rstrip(".,;: ")

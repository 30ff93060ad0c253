"""Where LaTeX can be taken apart: at separators outside all brackets, inside a pair that holds everything, at names."""

from __future__ import annotations

import re

TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|.", re.DOTALL)
_OPEN, _CLOSE = ("(", "[", "{", r"\{"), (")", "]", "}", r"\}")
_DEPTH = dict.fromkeys(_OPEN, 1) | dict.fromkeys(_CLOSE, -1)

_LETTER = (
    r"(?:[a-zA-Z]|\\(?:alpha|beta|gamma|delta|epsilon|theta|lambda|mu|phi|varphi|psi|rho|sigma|tau|omega|xi|eta|ell"
    r"|Delta|Omega|Phi|Psi|Theta)|\\text\{[^{}]*\}|\\(?:vec|hat|bar|tilde)\{?[a-zA-Z]\}?)"
)
_INDEX = r"(?:_(?:\w|\{[^{}]*\})|'|\^\{?-1\}?|\^\*)*"
NAME = re.compile(
    rf"(?:\\text\{{[^{{}}]*\}}(?:\\triangle|\\angle)?[A-Z]{{1,4}}"  # \text{area of }ABC
    rf"|(?:{_LETTER}{_INDEX}|\((?:[a-z]\\circ)+[a-z]\))(?:\((?:[^()=]|\([^()=]*\))*\))?"  # x, a_1, f(x), P(A), f(g(2))
    rf"|(?:m?\\angle|\\overline|\\triangle|\\widehat|\\overrightarrow)?\{{?[A-Z]{{1,4}}(?:_\w|[A-Z])*\}}?"  # AB
    r"|\\(?:deg|det|dim|min|max|inf|sup|gcd|lcm)\(?[a-zA-Z]\)?|\\(?:min|max|gcd|lcm)[a-z]?\([a-zA-Z](?:,[a-zA-Z])*\)"
    r"|(?:P|\\Pr|\\mathbb[PEV])(?:\((?:[^()]|\([^()]*\))*\)|\[[^\[\]]*\])"  # \Pr(X=1), \mathbb{E}[X]
    r"|\|[A-Z](?:\\(?:cap|cup|setminus|times|triangle)[A-Z])+\|"  # |A\cap B|
    r"|\\?#\{?[A-Z]\}?"
    r"|\\lfloor(?:[a-z]|\\[a-z]+)\\rfloor|\\lceil(?:[a-z]|\\[a-z]+)\\rceil"
    r"|\|\{?(?:\\overline\{)?(?:[A-Z]{1,2}|[zw])\}?\||\[[A-Z]{3,5}\]|[A-Z][a-z]{2,}"  # |AB|, |z|, [ABC], Area
    rf"|\((?:{_LETTER}{_INDEX},)+{_LETTER}{_INDEX}\))"  # (x,y)
)
"""What an equation may give a value to, without spaces."""


def split(text: str, *separators: str) -> list[str]:
    """The trimmed parts between separators that stand outside all brackets, without empty ones."""
    return [part for part, _ in split_with(text, *separators)]


def split_with(text: str, *separators: str) -> list[tuple[str, str]]:
    """The same parts, each with the separator before it."""
    parts, depth, start, before = [], 0, 0, ""
    for token in TOKEN.finditer(text):
        depth += _DEPTH.get(token[0], 0)
        if depth == 0 and token[0] in separators:
            parts.append((text[start : token.start()], before))
            start, before = token.end(), token[0]
    return [(part.strip(), mark) for part, mark in [*parts, (text[start:], before)] if part.strip()]


def enclosing(text: str) -> tuple[str, str]:
    """The pair that encloses the whole text, and what it encloses; two empty strings if there is none."""
    tokens, depth = TOKEN.findall(text), 0
    if len(tokens) < 2 or tokens[0] not in ("(", "[", r"\{") or tokens[-1] not in (")", "]", r"\}"):
        return "", ""
    for position, token in enumerate(tokens, start=1):
        depth += _DEPTH.get(token, 0)
        if depth == 0 and position < len(tokens):
            return "", ""
    return (tokens[0] + tokens[-1], "".join(tokens[1:-1])) if depth == 0 else ("", "")


def is_name(text: str) -> bool:
    """Whether an equation may give it a value: `x`, `f(x)`, `AB`, `(x, y)`, `\\text{Area}`; not `b - a`, `x^2` nor
    `|x|`."""
    return bool(NAME.fullmatch(text.replace(" ", "")))


def as_label(text: str) -> str:
    """A name without spaces and braces."""
    return re.sub(r"[ {}]", "", text)

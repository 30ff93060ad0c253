r"""The structure of a LaTeX answer: a list of answers, each perhaps a tuple, an interval, a set or a union.

math-verify reads `(1,2)`, `\{1,2\}` and `1,2` as the same, so what brackets mean is decided here, and only what
stands between the commas is left to it. All scans are linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from cppo_verl.rewards.numbers import drop_thousands_commas

_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|.", re.DOTALL)
_OPEN, _CLOSE = ("(", "[", "{", r"\{"), (")", "]", "}", r"\}")
_DEPTH = dict.fromkeys(_OPEN, 1) | dict.fromkeys(_CLOSE, -1)
_COMMAS = (",", ";")
_NAME = re.compile(r"[a-zA-Z\\(][^-+*/^<>]*")  # f(x), m_{\max}, \angle ABC, (x,y)
_FUNCTION = re.compile(r"[^()]*\(([a-z])\)")
_SIGNS = {r"\pm": "+-", r"\mp": "-+"}
_MAX_FREE_SIGNS = 4

_TIDY = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r",?\\!|\{,\}", ""),  # 32,\!000 and 32{,}000
        (r"\\?\$|\\(?:left|right|[bB]igg?[lr]?|displaystyle)(?![a-zA-Z])", ""),
        (r"\s|~|(?<!\\)\\[,;: ]|\\q?quad(?![a-zA-Z])", " "),
        (r" +", " "),
        (r"\\lbrace(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        ("\N{DEGREE SIGN}", r"^{\\circ}"),
        ("\N{MINUS SIGN}", "-"),
        (r"\\(?:text|textrm|textbf|mathrm|mbox) ?\{ ?,? ?(?:and|or) ?,? ?\}", ","),
        (r"(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])", ","),
    ]
]


@dataclass(frozen=True)
class Part:
    """One answer, or a group of them."""

    text: str
    """LaTeX, without the label."""

    label: str = ""
    """The name it is given: `f(x)` of `f(x)=x+1`, without spaces and braces."""

    kind: str = ""
    r"""Of a group: its brackets (`()`, `[)`, `\{\}`) or `\cup`."""

    items: tuple[Part, ...] = ()
    """Of a group."""

    @property
    def ordered(self) -> bool:
        """Whether the order of the items counts: in tuples and intervals."""
        return self.kind not in ("", r"\{\}", r"\cup")

    def leaves(self) -> Iterator[Part]:
        """What is no group."""
        if not self.kind:
            yield self
        for item in self.items:
            yield from item.leaves()


def parse_listing(text: str) -> Part:
    r"""A list of answers as a set: commas, `and` and `or` separate them; braces around all of them say nothing."""
    items = map(_parse, split(_listed(tidy(text)), *_COMMAS))
    # k \in \mathbb{Z} says what k is, and is no answer.
    return Part(text, kind=r"\{\}", items=tuple(item for item in items if not item.text.startswith(r"\mathbb")))


def readings(text: str) -> list[Part]:
    r"""What a completion may mean by a list of answers.

    `1,234` is two numbers or one; the signs of `(\pm 1, \pm 2)` go together, as in a formula, or each its way.
    """
    listed = _listed(tidy(text))
    texts = dict.fromkeys([listed, drop_thousands_commas(listed)])
    listings = [_signed(listing, free) for listing in texts for free in (False, True)]
    return [parse_listing(listing) for listing in dict.fromkeys(listings)]


def tidy(text: str) -> str:
    """Without dollars, sizes and spacing; every separator a comma."""
    for pattern, replacement in _TIDY:
        text = pattern.sub(replacement, text)
    return text.strip(" ").rstrip(".,;: ")


def split(text: str, *separators: str) -> list[str]:
    """The trimmed parts between separators that stand outside all brackets, without empty ones."""
    parts, depth, start = [], 0, 0
    for token in _TOKEN.finditer(text):
        depth += _DEPTH.get(token[0], 0)
        if depth == 0 and token[0] in separators:
            parts.append(text[start : token.start()])
            start = token.end()
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def in_variable_of(gold: Part, answer: Part) -> Part:
    """A labelled answer with its function's argument renamed: `f(x)=x^2` where the gold is `f(n)=n^2`."""
    ours, theirs = _FUNCTION.fullmatch(gold.label), _FUNCTION.fullmatch(answer.label)
    if not ours or not theirs or ours[1] == theirs[1]:
        return answer
    text, label = (
        "".join(ours[1] if token == theirs[1] else token for token in _TOKEN.findall(written))
        for written in (answer.text, answer.label)
    )
    return replace(_parse(text), label=label)


def _parse(text: str) -> Part:
    label, text = _split_label(text)
    if len(parts := split(text, r"\cup")) > 1:
        return Part(text, label, r"\cup", tuple(map(_parse, parts)))
    brackets, inside = _brackets(text)
    items = split(inside, *_COMMAS)
    if len(items) > 1 or (items and brackets == r"\{\}"):
        return Part(text, label, brackets, tuple(map(_parse, items)))
    return Part(text, label)


def _split_label(text: str) -> tuple[str, str]:
    *names, value = split(text, "=", r"\in") or [text]
    if not names or not all(map(_NAME.fullmatch, names)):
        return "", text
    return re.sub(r"[ {}]", "", names[-1]), value


def _listed(text: str) -> str:
    """The list itself, without a name and braces around all of it."""
    brackets, inside = _brackets(_split_label(text)[1])
    return inside if brackets == r"\{\}" and len(split(text, *_COMMAS)) == 1 else text


def _brackets(text: str) -> tuple[str, str]:
    """The pair that encloses the whole text, and what it encloses; two empty strings if there is none."""
    tokens, depth = _TOKEN.findall(text), 0
    if len(tokens) < 2 or tokens[0] not in ("(", "[", r"\{") or tokens[-1] not in (")", "]", r"\}"):
        return "", ""
    for position, token in enumerate(tokens, start=1):
        depth += _DEPTH.get(token, 0)
        if depth == 0 and position < len(tokens):
            return "", ""
    return (tokens[0] + tokens[-1], "".join(tokens[1:-1])) if depth == 0 else ("", "")


def _signed(listing: str, free: bool) -> str:
    """The list with an answer for each sign that a `\\pm` stands for."""
    written = []
    for item in split(listing, *_COMMAS):
        tokens = _TOKEN.findall(item)
        signs = [_SIGNS[token] for token in tokens if token in _SIGNS]
        choices = product(*signs) if free and len(signs) <= _MAX_FREE_SIGNS else zip(*signs, strict=True)
        for choice in list(choices) if signs else [()]:
            left = iter(choice)
            written.append("".join(next(left) if token in _SIGNS else token for token in tokens))
    return ",".join(written)

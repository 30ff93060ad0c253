r"""The structure of an answer in one spelling: a list of answers, each perhaps a tuple, an interval, a set or a union.

math-verify reads `(1,2)`, `\{1,2\}` and `1,2` as the same, so what brackets mean is decided here, and only what
stands between the commas is left to it. All scans are linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from cppo_verl.rewards.brackets import TOKEN, as_label, enclosing, is_name, split
from cppo_verl.rewards.intervals import as_interval, is_inequality
from cppo_verl.rewards.plain import plain

_COMMAS = (",", ";")
_FUNCTION = re.compile(r"[^()]*\(([a-z])\)")
_SIGNS = {r"\pm": "+-", r"\mp": "-+"}
_MAX_FREE_SIGNS = 4
_JOINED = re.compile(
    r"\\text ?\{ ?,? ?(?:and|or) ?,? ?\}|(?<![a-zA-Z\\{ ]) *,? *\b(?:and|or)\b(?![a-zA-Z]) *|\\(?:lor|vee)(?![a-zA-Z])"
)
_GROUPED = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])")
_MEMBERS = re.compile(r"([^|:]*)(?:\\mid(?![a-zA-Z])|\||:)(.*)")
_NAMED_POINT = re.compile(r"([A-Z](?:'|_\w)?) ?(\(.*\))", re.DOTALL)
_NEXT_NAME = re.compile(r"((?<![a-zA-Z\\{])[a-zA-Z] ?= ?-?[^=,; ]+) (?=[a-zA-Z] ?= ?[^= ]+(?: [a-zA-Z] ?=|$))")
_MAX_DEPTH = 8
"""Groups in groups; what is deeper is read as one value."""


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

    sides: tuple[str, ...] = ()
    """The other sides of its equation that are no names: `2+3` of `x=2+3=5`."""

    approximations: tuple[str, ...] = ()
    """What follows its `\\approx`: `4.667` of `\\frac{14}{3} \\approx 4.667`."""

    written: str = ""
    """All of it, with label, sides and relation."""

    @property
    def ordered(self) -> bool:
        """Whether the order of the items counts: in tuples and intervals."""
        return self.kind not in ("", r"\{\}", r"\cup")

    @property
    def relation(self) -> bool:
        """Whether it is an equation or an inequality that gives no name a value."""
        return bool(self.sides) or is_inequality(self.text)

    def leaves(self) -> Iterator[Part]:
        """What is no group."""
        if not self.kind:
            yield self
        for item in self.items:
            yield from item.leaves()


def parse_listing(text: str) -> Part:
    r"""A list of answers as a set: commas, `and` and `or` separate them; braces around all of them say nothing."""
    items = [_parse(item, _MAX_DEPTH) for item in _listed(tidy(text))]
    # k \in \mathbb{Z} says what k is, and is no answer.
    return Part(text, kind=r"\{\}", items=tuple(item for item in items if not item.text.startswith(r"\mathbb Z")))


def readings(text: str, *, lists: bool = True, numbers: bool = True) -> list[Part]:
    r"""What a text may mean by a list of answers.

    The signs of `(\pm 1, \pm 2)` go together, as in a formula, or each its way.

    Args:
        text: LaTeX as it was written.
        lists: whether `1,234` may be two numbers.
        numbers: whether it may be one.
    """
    listed = tidy(text)
    grouped = _GROUPED.sub(lambda found: found[0].replace(",", ""), listed)
    texts = dict.fromkeys([listed] * (lists or grouped == listed) + [grouped] * numbers)
    listings = [_signed(listing, free) for listing in texts for free in (False, True)]
    return [parse_listing(listing) for listing in dict.fromkeys(listings)]


def is_one_number(text: str) -> bool:
    """Whether the only commas of a text group thousands: `22,500`, but not `1, 22,500`."""
    listed = tidy(text)
    return len(_GROUPED.findall(listed)) == 1 and not re.search(r"[,;()\[\]]", _GROUPED.sub("", listed))


def tidy(text: str) -> str:
    """One spelling, in which every separator is a comma."""
    joined = re.sub(r" +", " ", _JOINED.sub(", ", plain(text))).strip(" ,;")
    return _NEXT_NAME.sub(r"\1, ", joined)  # x = 3 \quad y = -5


def in_variable_of(gold: Part, answer: Part) -> Part:
    """A labelled answer with its function's argument renamed: `f(x)=x^2` where the gold is `f(n)=n^2`."""
    ours, theirs = _FUNCTION.fullmatch(gold.label), _FUNCTION.fullmatch(answer.label)
    if not ours or not theirs or ours[1] == theirs[1]:
        return answer
    text, label = (
        "".join(ours[1] if token == theirs[1] else token for token in TOKEN.findall(written))
        for written in (answer.text, answer.label)
    )
    return replace(_parse(text, _MAX_DEPTH), label=label)


def _parse(text: str, depth: int) -> Part:
    text = _condition(text)
    exact, *about = split(text, r"\approx") or [text]
    if about and is_name(exact):
        exact, about = f"{exact} = {about[0]}", about[1:]
    *others, value = split(exact, "=", r"\in") or [exact]
    if others and is_name(value) and not any(map(is_name, others)) and "=" in exact:  # 72 = x
        others, value = [value, *others[:-1]], others[-1]
    label = next((as_label(side) for side in others if is_name(side)), "")
    sides = tuple(side for side in others if not is_name(side))
    name, value = as_interval(value) or _named_point(value) or ("", value)
    kind, items = _group(value)
    parts = tuple(_parse(item, depth - 1) for item in items) if depth else ()
    return Part(value, label or name, kind if parts else "", parts, sides, tuple(about), text)


def _named_point(text: str) -> tuple[str, str] | None:
    """The name and the point of `A(3,-5)`; None if a text is no such thing."""
    found = _NAMED_POINT.fullmatch(text)
    return (found[1], found[2]) if found and len(split(enclosing(found[2])[1], *_COMMAS)) > 1 else None


def _condition(text: str) -> str:
    """What the members of a set fulfil: `x>2` of `x \\mid x>2`; the text itself where it says no such thing."""
    found = _MEMBERS.fullmatch(text)
    name = split(found[1], r"\in")[:1] if found else []
    return found[2].strip() if name and is_name(name[0]) and is_inequality(found[2]) else text


def _group(text: str) -> tuple[str, list[str]]:
    """The kind of a group and its items; none of what is no group."""
    if len(parts := split(text, r"\cup")) > 1:
        return r"\cup", parts
    brackets, inside = enclosing(text)
    items = split(inside, *_COMMAS)
    return (brackets, items) if len(items) > 1 or (items and brackets == r"\{\}") else ("", [])


def _listed(text: str) -> list[str]:
    """The items of a list, which may have a name and braces around all of it."""
    items = split(text, *_COMMAS)
    if len(items) == 1:
        *_, value = split(text, "=", r"\in") or [text]
        brackets, inside = enclosing(value)
        return split(inside, *_COMMAS) if brackets == r"\{\}" else items
    if items and not any("=" in item for item in items[1:]):  # x = 1, 2 names them all
        name, *values = split(items[0], "=", r"\in") or [""]
        items[0] = values[0] if len(values) == 1 and is_name(name) else items[0]
    return items


def _signed(listing: str, free: bool) -> str:
    """The list with an answer for each sign that a `\\pm` stands for."""
    written = []
    brackets, inside = enclosing(listing)
    for item in split(inside if brackets == r"\{\}" else listing, *_COMMAS):
        tokens = TOKEN.findall(item)
        signs = [_SIGNS[token] for token in tokens if token in _SIGNS]
        choices = product(*signs) if free and len(signs) <= _MAX_FREE_SIGNS else zip(*signs, strict=True)
        for choice in list(choices) if signs else [()]:
            left = iter(choice)
            written.append("".join(next(left) if token in _SIGNS else token for token in tokens))
    return ",".join(written) if r"\pm" in listing or r"\mp" in listing else listing

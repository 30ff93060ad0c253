r"""Inequalities of a name and numbers as the intervals they are: `1 \le x < 3` is `[1,3)`, `x \ne 3` a union."""

from __future__ import annotations

import re

from cppo_verl.rewards.brackets import as_label, is_name, split_with

_LESS, _GREATER = ("<", r"\le"), (">", r"\ge")
_RELATIONS = (*_LESS, *_GREATER, r"\ne")
_TURNED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\ne": r"\ne"}
_LETTER = re.compile(r"(?<![a-zA-Z\\])[a-zA-Z]")
_WITHOUT = re.compile(r"\\mathbb R ?(?:\\setminus|\\backslash|-) ?\\\{([^{},]*)\\\}")


def is_inequality(text: str) -> bool:
    r"""Whether `<`, `\le` or the like stands outside all brackets."""
    return len(split_with(text, *_RELATIONS)) > 1


def as_interval(text: str) -> tuple[str, str] | None:
    """The name and the interval, or union of intervals, in brackets; None if a text is no such inequality."""
    if text == r"\mathbb R":
        return "", r"(-\infty,\infty)"
    if found := _WITHOUT.fullmatch(text):
        return "", _without(found[1])
    parts = split_with(text, *_RELATIONS)
    sides, signs = [side for side, _ in parts], [sign for _, sign in parts[1:]]
    if len(sides) == 2 and not is_name(sides[0]):
        sides, signs = sides[::-1], [_TURNED[signs[0]]]
    if len(sides) == 3 and all(sign in _GREATER for sign in signs):
        sides, signs = sides[::-1], [_TURNED[sign] for sign in reversed(signs)]
    place = len(sides) - 2
    if place not in (0, 1) or not is_name(sides[place]):
        return None
    bounds = sides[:place] + sides[place + 1 :]
    if any(_LETTER.search(bound) for bound in bounds):
        return None
    written = _between(bounds, signs) if place else _half_line(bounds[0], signs[0])
    return (as_label(sides[place]), written) if written else None


def _between(bounds: list[str], signs: list[str]) -> str | None:
    if not all(sign in _LESS for sign in signs):
        return None
    return f"{'(' if signs[0] == '<' else '['}{bounds[0]},{bounds[1]}{')' if signs[1] == '<' else ']'}"


def _half_line(bound: str, sign: str) -> str:
    if sign == r"\ne":
        return _without(bound)
    if sign in _LESS:
        return rf"(-\infty,{bound}{')' if sign == '<' else ']'}"
    return rf"{'(' if sign == '>' else '['}{bound},\infty)"


def _without(point: str) -> str:
    return rf"(-\infty,{point})\cup({point},\infty)"

"""Values with names: `x=3, y=-5` for the point `(3,-5)`, and `(a,b)=(1,2)` for `a=1, b=2`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cppo_verl.rewards.answers import Part
from cppo_verl.rewards.brackets import enclosing, split


def with_names_apart(part: Part, names: Sequence[str]) -> Part:
    """A list whose only item is a point as its coordinates, each with its name: `(a,b)=(1,2)` as `a=1, b=2`.

    Args:
        part: the list.
        names: of the coordinates of a point that has none of its own.
    """
    point = part.items[0] if len(part.items) == 1 else part
    names = _coordinate_names(point) or names
    if point is part or point.kind != "()" or len(names) != len(point.items):
        return part
    return replace(part, items=tuple(map(_named, point.items, names)))


def as_point(part: Part, gold: Part) -> Part:
    """A list of values with different names, `x=3, y=-5`, as a list of the point that they are; any other as it is.

    The names stand in the order of the gold's, or of the alphabet.
    """
    names = names_of(part)
    order = _coordinate_names(gold) or sorted(names)
    if gold.kind != "()" or not names or sorted(order) != sorted(names):
        return part
    items = sorted(part.items, key=lambda item: order.index(item.label))
    return replace(part, items=(replace(gold, label="", items=tuple(_named(item, "") for item in items)),))


def names_of(part: Part) -> tuple[str, ...]:
    """The names of a list's values if all have one and no two have the same; else none."""
    names = tuple(item.label for item in part.items)
    return names if len(names) > 1 and all(names) and len(set(names)) == len(names) else ()


def _coordinate_names(point: Part) -> tuple[str, ...]:
    brackets, inside = enclosing(point.label)
    return tuple(split(inside, ",")) if brackets == "()" else ()


def _named(part: Part, name: str) -> Part:
    return replace(part, label=name, written=f"{name}={part.text}" if name else part.text)

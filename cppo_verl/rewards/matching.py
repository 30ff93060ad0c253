"""One answer against the gold, both with their structure: lists match in any order, tuples and intervals in theirs."""

from __future__ import annotations

from collections.abc import Callable

from cppo_verl.rewards.answers import Part, in_variable_of
from cppo_verl.rewards.coordinates import as_point, names_of, with_names_apart
from cppo_verl.rewards.intervals import is_inequality
from cppo_verl.rewards.result import FAILURES, Outcome

Compare = Callable[[Part, Part], Outcome]
"""Of a gold value and an answer's, neither a group."""

_RANK: dict[Outcome, int] = {"equal": 0, "unworked": 1}


def match_list(gold: Part, answer: Part, compare: Compare) -> Outcome:
    """Every gold item takes the first equal answer that is left: equality is transitive, so this is enough.

    A label (the f(n) of f(n)=n) must be the gold's if it is one of the gold's; any other is only a name. Answers
    without labels to a gold with different ones stand in the gold's order.

    Returns:
        `equal`; `unworked` if an item is left to work out; `different`; or the first failure.
    """
    gold, answer = _alike(gold, answer)
    left = list(answer.items)
    if _differently_named(gold, answer):
        return "different"
    if len(gold.items) != len(left):
        return _match_union(gold, answer, compare)
    labels = {item.label for item in gold.items if item.label}
    in_order = len(labels) > 1 and not any(item.label for item in left)
    worst: Outcome = "equal"
    for item in gold.items:
        found, taken = "different", None
        for candidate in left[:1] if in_order else left:
            named = in_variable_of(item, candidate)
            if item.label and named.label != item.label and named.label in labels:
                continue
            outcome = match(item, named, compare)
            if outcome in FAILURES:
                return outcome
            if _RANK.get(outcome, 2) < _RANK.get(found, 2):
                found, taken = outcome, candidate
            if outcome == "equal":
                break
        if taken is None:
            return outcome if len(left) == len(gold.items) == 1 else "different"
        left.remove(taken)
        worst = worst if found == "equal" else found
    return worst


def match(gold: Part, answer: Part, compare: Compare) -> Outcome:
    """One gold item and one answer, either perhaps a group.

    Coordinates and ends of intervals need not be worked out: no formula of a question is worth a point.
    """
    if not gold.kind and not answer.kind:
        return compare(gold, answer)
    if is_inequality(gold.written) and not answer.kind:  # x < 1 and -x > -1
        return compare(gold, answer)
    if gold.kind != answer.kind or len(gold.items) != len(answer.items):
        return "different"
    if not same_name(gold, answer):
        return "different"
    if not gold.ordered:
        return match_list(gold, answer, compare)
    for pair in zip(gold.items, answer.items, strict=True):
        outcome = match(*pair, compare)
        if outcome not in _RANK:
            return outcome
    return "equal"


def same_name(gold: Part, answer: Part) -> bool:
    """Whether a name that the gold gives, a single letter, is not another one in the answer."""
    ours, theirs = gold.label, answer.label
    return not (len(ours) == len(theirs) == 1) or ours == theirs


def _alike(gold: Part, answer: Part) -> tuple[Part, Part]:
    """Both as lists of values with names, or both as lists of a point, where they are one and the other."""
    if len(gold.items) == 1 and len(answer.items) > 1:
        return gold, as_point(answer, gold.items[0])
    if names := names_of(gold):
        return gold, with_names_apart(answer, names)
    return gold, answer


def _differently_named(gold: Part, answer: Part) -> bool:
    """Whether the values of an answer have different letters for names, and the gold's have none: `x=2, y=3` for the
    roots 2 and 3. Letters with an index, `x_1` and `x_2`, name roots, and equal values may have any names.
    """
    if len({item.text for item in gold.items}) < 2:
        return False
    names = names_of(answer)
    return all(len(name) == 1 for name in names) and bool(names) and not any(item.label for item in gold.items)


def _match_union(gold: Part, answer: Part, compare: Compare) -> Outcome:
    """A union of intervals, or the same as a list: `x<1 or x>3`."""
    if len(gold.items) == 1 and gold.items[0].kind == r"\cup" and all(item.kind for item in answer.items):
        return match_list(gold.items[0], answer, compare)
    if len(answer.items) == 1 and answer.items[0].kind == r"\cup" and all(item.kind for item in gold.items):
        return match_list(gold, answer.items[0], compare)
    return "different"

"""Reward for OlympiadBench: format 0/1 plus accuracy 2 or 0; several answers, units, tolerances, intervals."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from cppo_verl.rewards.answers import Part, in_variable_of, parse_listing, readings, tidy
from cppo_verl.rewards.boxed import BoxedReward
from cppo_verl.rewards.math import extract_answer as extract_answer
from cppo_verl.rewards.result import FAILURES
from cppo_verl.rewards.symbolic import Outcome, check_gold, equivalent
from cppo_verl.rewards.tags import MAX_CHARS

_UNITS = [
    re.compile(spellings)
    for spellings in (
        r"\^ ?(?:\{ ?\\circ ?\}|\\circ)|\\degree|degrees?|deg",
        r"minutes?|mins?",
        r"hours?|hrs?|h",
        r"km|kilomet(?:er|re)s?",
        r"km ?/ ?(?:h|hr|hour)|kmh|kph|km ?h ?\^ ?\{ ?-1 ?\}|kilomet(?:er|re)s? per hour",
        r"cm ?\^ ?(?:2|\{ ?2 ?\})|(?:square|sq\.?) (?:cm|centimet(?:er|re)s?)",
        r"\\?%|percent",
    )
]
_TEXT = re.compile(r"\\(?:text|textrm|mathrm|mbox|operatorname) ?\{((?:[^{}]|\{[^{}]*\})*)\}")
_UNIT_LEFT = re.compile(r"\\circ(?![a-zA-Z])|\\degree|%|\\(?:text|mathrm)|(?<![\\a-zA-Z])[a-zA-Z]")
_RELATION = re.compile(r"[<>]|\\(?:lt|gt|leq?|geq?|leqslant|geqslant)(?![a-zA-Z])")


_Compare = Callable[[str, str], Outcome]  # of a gold value and an answer's


def judge(gold: str, answer: str | None, extra: Mapping[str, Any], timeout: float) -> Outcome:
    """What becomes of a comparison with one or more gold answers.

    Several answers match one to one in any order; in tuples and intervals the order and the kind of brackets count.

    Args:
        gold: LaTeX of the gold answers.
        answer: What the last box holds.
        extra: the data's `unit` (the answer may have it or not, but no other) and `error` (how far a number may be from
            the gold); each may be None or missing.
        timeout: seconds one symbolic comparison may take; the first that fails is the last.
    """
    if answer is not None and len(answer) > MAX_CHARS:
        return "too_long"
    if answer is None or not tidy(answer):
        return "no_answer"
    tolerance, unit = float(extra.get("error") or 0), extra.get("unit") or ""
    compare = partial(_compare_values, unit=unit, tolerance=tolerance, timeout=timeout)
    listing = parse_listing(gold)
    for reading in readings(answer):
        outcome = _match(listing, reading, compare)
        if outcome == "equal" or outcome in FAILURES:
            return outcome
    return "different"


compute_score = BoxedReward(judge)


def parse_gold(answer: str) -> str:
    """The gold of an OlympiadBench answer: its LaTeX without dollar signs.

    Raises:
        ValueError: there is no answer, or math-verify cannot read one of them.
    """
    parts = list(parse_listing(answer).leaves())
    unread = [part.text for part in parts if check_gold(part.text) in FAILURES]
    if unread or not parts:
        raise ValueError(f"the gold cannot be read: {(unread or [answer])[0][:80]!r}")
    return answer.replace("$", "").strip().rstrip(".")


def _match(gold: Part, answer: Part, compare: _Compare) -> Outcome:
    """Every gold item takes the first equal answer that is left: equality is transitive, so this is enough.

    A label (the f(n) of f(n)=n) must be the gold's if it is one of the gold's; any other is only a name.
    """
    left = list(answer.items)
    if len(gold.items) != len(left):
        return "different"
    labels = {item.label for item in gold.items if item.label}
    for item in gold.items:
        for candidate in left:
            named = in_variable_of(item, candidate)
            if item.label and named.label != item.label and named.label in labels:
                continue
            outcome = _compare(item, named, compare)
            if outcome in FAILURES:
                return outcome
            if outcome == "equal":
                left.remove(candidate)
                break
        else:
            return "different"
    return "equal"


def _compare(gold: Part, answer: Part, compare: _Compare) -> Outcome:
    if not gold.kind and not answer.kind:
        return compare(gold.text, answer.text)
    if gold.kind != answer.kind:
        return _compare_interval(gold.text, answer.text, compare)
    if not gold.ordered:
        return _match(gold, answer, compare)
    if len(gold.items) != len(answer.items):
        return "different"
    for pair in zip(gold.items, answer.items, strict=True):
        if (outcome := _compare(*pair, compare)) != "equal":
            return outcome
    return "equal"


def _compare_interval(gold: str, answer: str, compare: _Compare) -> Outcome:
    """An interval with an inequality, which math-verify wants on the gold's side; else they are different."""
    if _RELATION.search(gold):
        return compare(gold, answer)
    outcome = compare(answer, gold) if _RELATION.search(answer) else "different"
    return "unparseable" if outcome == "bad_gold" else outcome


def _compare_values(gold: str, answer: str, *, unit: str, tolerance: float, timeout: float) -> Outcome:
    value = _without_unit(answer, unit) if unit else answer
    return "different" if value is None else equivalent(gold, value, timeout=timeout, tolerance=tolerance)


def _without_unit(answer: str, unit: str) -> str | None:
    """The answer without the unit, if it has it; None if it has another one."""
    unit = unit.replace("$", "").strip()
    answer = tidy(_TEXT.sub(r"\1", answer))
    spellings = next((known for known in _UNITS if known.fullmatch(unit)), re.compile(re.escape(unit)))
    for start in range(len(answer)):
        if spellings.fullmatch(answer, start) and not answer[start - 1 : start].isalpha():
            answer = answer[:start].rstrip()
            break
    return None if _UNIT_LEFT.search(answer) else answer

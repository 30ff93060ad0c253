"""Reward for OlympiadBench: format 0/1 plus accuracy 2 or 0; several answers, units, tolerances, intervals."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from cppo_verl.rewards.answers import Part, in_variable_of, parse_listing, readings, tidy
from cppo_verl.rewards.latex import last_boxed
from cppo_verl.rewards.math import EQUAL
from cppo_verl.rewards.math import extract_answer as extract_answer
from cppo_verl.rewards.numbers import gold_text
from cppo_verl.rewards.result import FAILURES, result
from cppo_verl.rewards.symbolic import TIME_LIMIT_S, Outcome, check_gold, equivalent
from cppo_verl.rewards.tags import MAX_CHARS, has_format

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


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict | None = None,
    *,
    timeout: float = TIME_LIMIT_S,
    **_: object,
) -> dict[str, float | str]:
    r"""Score one completion; the signature is the one verl calls, from any thread.

    The answer is the last `\boxed` of the whole completion. Several answers match one to one in any order; in
    tuples and intervals the order and the kind of brackets count.

    Args:
        data_source: not used; verl passes it.
        solution_str: the completion, without the prompt.
        ground_truth: LaTeX of the gold answers.
        extra_info: the data's `unit` (the answer may have it or not, but no other) and `error` (how far a number
            may be from the gold); each may be None or missing.
        timeout: seconds one symbolic comparison may take; the first that fails is the last.

    Returns:
        `score`, `acc`, `format`, `verify_failed` and `outcome` as `rewards.math`; always these keys. Never raises
        on any text.

    Raises:
        TypeError: the gold is neither text nor a number.
    """
    extra = extra_info or {}
    tolerance, unit = float(extra.get("error") or 0), extra.get("unit") or ""
    compare = partial(_compare_values, unit=unit, tolerance=tolerance, timeout=timeout)
    layout = float(has_format(solution_str))
    outcome = _judge(gold_text(ground_truth), last_boxed(solution_str), compare)
    return result(layout + EQUAL * (outcome == "equal"), layout, outcome)


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


def _judge(gold: str, answer: str | None, compare: _Compare) -> Outcome:
    if answer is not None and len(answer) > MAX_CHARS:
        return "too_long"
    if answer is None or not tidy(answer):
        return "no_answer"
    listing = parse_listing(gold)
    for reading in readings(answer):
        outcome = _match(listing, reading, compare)
        if outcome == "equal" or outcome in FAILURES:
            return outcome
    return "different"


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

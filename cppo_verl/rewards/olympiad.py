"""Reward for OlympiadBench: format 0/1 plus accuracy 2 or 0; several answers, units, tolerances, intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cppo_verl.rewards.answers import parse_listing, readings
from cppo_verl.rewards.boxed import BoxedReward
from cppo_verl.rewards.judging import judge_list
from cppo_verl.rewards.math import extract_answer as extract_answer
from cppo_verl.rewards.plain import plain
from cppo_verl.rewards.quantities import unit_name
from cppo_verl.rewards.result import FAILURES, Outcome
from cppo_verl.rewards.values import Rules, check_value


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
    rules = Rules(timeout, float(extra.get("error") or 0), _unit(extra.get("unit") or ""))
    return judge_list(readings(gold, numbers=False), answer, rules)


compute_score = BoxedReward(judge)
compute_scores = compute_score.of_many


def parse_gold(answer: str) -> str:
    """The gold of an OlympiadBench answer: its LaTeX without dollar signs.

    Raises:
        ValueError: there is no answer, or math-verify cannot read one of them.
    """
    parts = list(parse_listing(answer).leaves())
    unread = [part.text for part in parts if check_value(part) in FAILURES]
    if unread or not parts:
        raise ValueError(f"the gold cannot be read: {(unread or [answer])[0][:80]!r}")
    return answer.replace("$", "").strip().rstrip(".")


def _unit(unit: str) -> str:
    """The data's unit by the name that `quantities` gives it."""
    written = plain(unit.replace("$", ""))
    if written == r"^{\circ}":
        return "deg"
    if written == r"\%":
        return "%"
    words, _, power = written.partition("^")
    return unit_name(words, power or None) or words

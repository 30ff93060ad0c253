"""A sample of scripts/measure_rewards.py: every kind of rewriting pays, no kind of near miss does."""

from collections.abc import Iterator

import pytest
from near_misses import near_misses
from rewritings import formulas, rewritings

from cppo_verl.rewards import math, symbolic

GOLDS = (
    "72",
    "9901",
    r"32,\!000",
    r"\frac{14}{3}",
    r"-\frac12",
    "0.375",
    ".0000672",
    r"\left( 3, \frac{1}{2} \right)",
    "(-1,6)",
    r"(2,\infty)",
    "[1,4)",
    "-2,1,5",
    r"60^\circ",
    r"28\%",
    r"\$36",
    r"4319 \text{ dollars}",
    "204_5",
    "10t + 12",
    r"3\sqrt{13}",
    r"72\pi",
    r"\text{Evelyn}",
    r"\text{(C)}",
    "x=5",
)


@pytest.fixture(scope="module", autouse=True)
def stop_workers() -> Iterator[None]:
    yield
    symbolic.shutdown()


def accuracy(answer: str, gold: str) -> float:
    return math.compute_score("", rf"\boxed{{{answer}}}", gold)["acc"]


@pytest.mark.parametrize("gold", GOLDS)
def test_rewritings_pay_and_near_misses_do_not(gold: str) -> None:
    assert [variant for variant in rewritings(gold) if not accuracy(variant.answer, gold)] == []
    assert [variant for variant in near_misses(gold) if accuracy(variant.answer, gold)] == []


def test_formulas_of_a_question_are_what_stands_between_dollars() -> None:
    question = r"If $x=3$ and $12$ boys pay \$5, what is $$99^2+99+1$$ or \[\binom{19}{9}\]?"
    assert formulas(question) == ["99^2+99+1", r"\binom{19}{9}"]

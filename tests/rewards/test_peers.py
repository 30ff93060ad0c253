"""What the suites of other graders say is right and wrong, in facts: gold, answer, right or not (`peers.jsonl`).

Left out is what they say of finding an answer in a text without a box, and what only a rounding chosen by the caller
makes right.
"""

from collections.abc import Iterator

import pytest
from math_verify import parse, verify
from peers import read_facts, wrong_by_reward

from cppo_verl.rewards import math, olympiad, symbolic


@pytest.fixture(scope="module", autouse=True)
def stop_workers() -> Iterator[None]:
    yield
    symbolic.shutdown()


@pytest.mark.parametrize("reward", [math, olympiad], ids=["math", "olympiad"])
def test_every_case_is_scored_as_its_suite_has_it(reward) -> None:
    facts = read_facts()
    assert len(facts) > 250
    assert wrong_by_reward(reward, facts) == []


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("22", "12+10t"),  # a letter taken for a unit
        (r"\frac{1}{2^{98}}", r"-\frac{1}{2^{98}}"),  # numbers are compared in 15 digits after the point
        (".0000672", ".0000673"),
        ("204_5", "204_6"),
        ("n", "N"),
    ],
)
def test_where_math_verify_errs_we_do_not(gold: str, answer: str) -> None:
    """Fails when an upgrade of math-verify no longer errs: then what was built around it may go."""
    assert verify(parse(f"${gold}$"), parse(f"${answer}$"))
    assert math.compute_score("", rf"\boxed{{{answer}}}", gold)["acc"] == 0.0

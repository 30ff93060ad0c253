r"""Kinds of answers that graders get wrong: for each, golds with what is right and what is wrong (`kinds.jsonl`).

An answer that has the gold's value and is left to work out stands with the wrong ones.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cppo_verl import reward
from cppo_verl.rewards import math, symbolic

CASES = [json.loads(line) for line in Path(__file__).with_name("kinds.jsonl").read_text().splitlines()]
LAYOUTS = {"gsm8k": "<answer>{}</answer>", "math": r"\boxed{{{}}}", "olympiad": r"\boxed{{{}}}"}


@pytest.fixture(scope="module", autouse=True)
def stop_workers() -> Iterator[None]:
    yield
    symbolic.shutdown()


@pytest.mark.parametrize(("name", "kind"), sorted({(name, case["kind"]) for case in CASES for name in case["rewards"]}))
def test_answers_of_a_kind(name: str, kind: str) -> None:
    def paid(case: dict) -> dict[str, float]:
        answers = case["right"] + case["wrong"]
        return {text: reward(name)("", LAYOUTS[name].format(text), case["gold"])["acc"] for text in answers}

    for case in CASES:
        if case["kind"] == kind:
            assert paid(case) == dict.fromkeys(case["right"], 1.0) | dict.fromkeys(case["wrong"], 0.0), case["gold"]


def test_a_gold_that_holds_an_approximation_is_either_form() -> None:
    answers, gold = (r"\frac23", "0.67", "0.66"), r"\$\dfrac23 \approx \$0.67"
    assert [math.compute_score("", rf"\boxed{{{text}}}", gold)["acc"] for text in answers] == [1.0, 1.0, 0.0]


def test_a_long_decimal_was_asked_for_as_one_unless_the_question_says_otherwise() -> None:
    fraction, gold = r"\boxed{\frac{57}{160}}", ".35625"
    assert math.compute_score("", fraction, gold)["outcome"] == "unworked"
    assert math.compute_score("", fraction, gold, {"question": "What is the area?"})["outcome"] == "equal"
    assert math.compute_score("", r"\boxed{\frac{3}{8}}", "0.375")["outcome"] == "equal"

"""What a reward function of the user's own may return, and the error for anything else."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from cppo_verl.rewards.returned import left_out, names_of, normal, score_of

NUMBERS = [1, 1.0, True, np.float32(1), np.int64(1), np.bool_(True), np.array(1.0), np.array([1.0]), Fraction(1)]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: type(number).__name__)
def test_a_number_of_any_type_is_a_score(number):
    for returned in (number, {"score": number, "acc": 0.0}):
        score = score_of(returned)
        assert score == 1.0 and type(score) is float


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (None, "None"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (np.float32("nan"), "nan"),
        ("1.0", "'1.0'"),
        ((1.0, "why"), r"\(1.0, 'why'\)"),
        (np.zeros(2), r"ndarray of shape \(2,\)"),
        ({"acc": 1.0}, r'a dict without "score" \(its keys: acc\)'),
        ({}, r"a dict without .* \(its keys: none\)"),
        ({"score": None}, 'None as "score"'),
        ({"score": 1.0, 7: 2}, "a dict with the key 7, which is no text"),
    ],
)
def test_what_is_no_score(returned, says):
    with pytest.raises(ValueError, match=f"^{says}$"):
        score_of(returned)


def test_every_row_has_the_same_columns():
    returned = [{"score": 1.0, "acc": 1.0}, {"score": 0, "why": "late"}, 0.5, {"score": True}]
    names = names_of(returned)
    assert names == ["score", "acc", "why"]
    rows = [normal(result, names) for result in returned]
    assert rows == [
        {"score": 1.0, "acc": 1.0, "why": None},
        {"score": 0.0, "acc": None, "why": "late"},
        {"score": 0.5, "acc": 0.5, "why": None},
        {"score": 1.0, "acc": None, "why": None},
    ]


def test_numbers_stay_numbers_and_what_comes_late_is_left_out():
    assert names_of([1, 0.5]) == []
    assert normal(True, []) == 1.0
    assert normal({"score": 1, "acc": 1.0}, []) == 1.0
    assert left_out({"score": 1, "acc": 1.0, "why": "x"}, ["score", "why"]) == ["acc"]
    assert left_out(1.0, ["score"]) == []

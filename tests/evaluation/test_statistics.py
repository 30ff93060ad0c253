"""Intervals, tests and sample statistics, against statsmodels and brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.proportion import proportion_confint

from cppo_verl.evaluation.statistics import (
    accuracy_interval,
    compare,
    majority_correct,
    mcnemar,
    pass_at_k,
    wilson,
)

outcomes = st.integers(0, 1)


@given(trials=st.integers(1, 2000), share=st.floats(0, 1))
def test_wilson(trials, share):
    successes = round(trials * share)
    found = wilson(successes, trials)
    low, high = proportion_confint(successes, trials, method="wilson")
    assert found.low == pytest.approx(max(low, 0), abs=1e-9)
    assert found.high == pytest.approx(min(high, 1), abs=1e-9)
    assert found.low <= successes / trials <= found.high


def test_one_sample_gets_wilson_and_several_a_bootstrap_over_questions():
    rng = np.random.default_rng(0)
    single = rng.integers(0, 2, (300, 1))
    assert accuracy_interval(single) == wilson(single.sum(), 300)

    chance = rng.random(40)
    several = (rng.random((40, 4)) < chance[:, None]).astype(int)
    found = accuracy_interval(several)
    means = several.mean(axis=1)
    half = 1.96 * means.std(ddof=1) / np.sqrt(len(means))  # the normal interval over questions
    assert found.method == "bootstrap over questions, Wilson at the least"
    assert found.low == pytest.approx(means.mean() - half, abs=0.02)
    assert found.high == pytest.approx(means.mean() + half, abs=0.02)
    assert accuracy_interval(several) == found, "the same numbers every time"


@pytest.mark.parametrize("value", [0, 1])
def test_an_interval_has_a_width_also_where_all_questions_agree(value):
    found = accuracy_interval(np.full((30, 4), value))
    assert found.high - found.low > 0.05
    assert found.low <= value <= found.high


@given(st.lists(st.tuples(outcomes, outcomes), min_size=1, max_size=200))
def test_mcnemar(pairs):
    a, b = np.array(pairs).T
    table = [[np.sum((a == i) & (b == j)) for j in (0, 1)] for i in (0, 1)]
    expected = statsmodels_mcnemar(table, exact=True).pvalue if (a != b).any() else 1
    assert mcnemar(a, b) == pytest.approx(min(expected, 1))


@given(st.lists(outcomes, min_size=1, max_size=8), st.data())
def test_pass_at_k_is_the_share_of_subsets_that_hold_a_right_one(samples, data):
    k = data.draw(st.integers(1, len(samples)))
    subsets = list(itertools.combinations(samples, k))
    (found,) = pass_at_k(np.array([samples]), k)
    assert found == pytest.approx(np.mean([any(subset) for subset in subsets]))


@pytest.mark.parametrize(
    ("answers", "correct", "expected"),
    [
        (["4", "4", "5", "6"], [1, 1, 0, 0], 1),
        (["5", "5", "4", "6"], [0, 0, 1, 0], 0),
        (["4", "5", None, None], [1, 0, 0, 0], 0.5),  # a tie of two
        ([None, None, None, "4"], [0, 0, 0, 1], 1),  # no answer is no vote
        (["1/2", "0.5", "3", "3"], [1, 1, 0, 0], 0),  # what tells that 1/2 is 0.5 is the gold, which has no vote
        ([None, None], [0, 0], 0),
    ],
)
def test_majority(answers, correct, expected):
    assert majority_correct(answers, correct) == expected


def test_two_models_are_compared_question_by_question():
    """Ten questions that only b gets right weigh more than two independent shares would tell."""
    a = np.array([1] * 90 + [0] * 10)[:, None]
    b = np.ones((100, 1), dtype=int)
    found = compare(a, b)
    assert found.difference == pytest.approx(0.1)
    assert found.interval.low > 0.03 and found.interval.high < 0.18
    assert found.p_value == pytest.approx(2 / 2**10)
    assert found.test == "McNemar, exact"


def test_the_same_model_does_not_differ_from_itself():
    rng = np.random.default_rng(1)
    single, several = rng.integers(0, 2, (50, 1)), rng.integers(0, 2, (50, 4))
    for rows in (single, several):
        found = compare(rows, rows)
        assert (found.difference, found.p_value) == (0, 1)


def test_several_samples_are_compared_by_a_permutation_of_signs():
    rng = np.random.default_rng(2)
    a = (rng.random((60, 4)) < 0.3).astype(int)
    better = (rng.random((60, 4)) < 0.7).astype(int)
    same = (rng.random((60, 4)) < 0.3).astype(int)
    assert compare(a, better).p_value < 0.001
    assert compare(a, same).p_value > 0.05
    assert compare(a, same).interval.low < 0 < compare(a, same).interval.high


def test_other_questions_are_refused():
    with pytest.raises(ValueError, match="3 and 4 questions"):
        compare(np.ones((3, 1)), np.ones((4, 1)))


@pytest.mark.parametrize(("a", "b"), [([[0, 1]], [[1, 1]]), ([[0]], [[1]])])
def test_one_question_decides_nothing(a, b):
    found = compare(np.array(a), np.array(b))
    assert found.p_value == 1
    assert found.interval.low < found.difference <= found.interval.high


def test_a_difference_has_a_width_also_where_all_questions_agree():
    found = compare(np.zeros((30, 1)), np.zeros((30, 1)))
    assert found.interval.low < -0.05 and found.interval.high > 0.05


@pytest.mark.parametrize("right", [1, 2, 118, 119])
def test_few_right_or_wrong_samples_do_not_narrow_the_interval(right):
    """30 questions of 4 samples, as AIME24: a bootstrap of one right sample would end at 2.5 %."""
    rows = np.zeros((30, 4), dtype=int)
    rows.flat[:right] = 1
    found = accuracy_interval(rows)
    wilson_at_least = wilson(right, 120)
    assert found.low <= wilson_at_least.low and found.high >= wilson_at_least.high


@given(only_a=st.integers(0, 12), only_b=st.integers(0, 12), both=st.integers(0, 50))
def test_mcnemars_interval_and_p_value_agree_about_no_difference(only_a, only_b, both):
    a = np.array([1] * only_a + [0] * only_b + [1] * (both + 1))[:, None]
    b = np.array([0] * only_a + [1] * only_b + [1] * (both + 1))[:, None]
    found = compare(a, b)
    assert found.interval.low - 1e-9 <= found.difference <= found.interval.high + 1e-9
    assert (found.p_value < 0.05) == (not found.interval.low <= 0 <= found.interval.high)


def test_few_differing_questions_are_tested_exactly():
    a, b = np.zeros((300, 4)), np.zeros((300, 4))
    b[:4] = 1
    assert compare(a, b).p_value == pytest.approx(0.125)

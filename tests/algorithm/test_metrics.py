"""The `cppo/*` metrics against a case worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cppo_verl.algorithm.metrics import (
    KINDS,
    MOST_OUTCOMES,
    Outcomes,
    SampledRows,
    clipping_by_place,
    step_metrics,
)

SAMPLED = SampledRows(
    question=np.array(["a", "b", "a", "c", "b", "c"], dtype=object),
    advantage=torch.tensor([2.0, 0.5, -1.0, 0.0, -0.5, 0.0]),
    reward=torch.tensor([3.0, 1.5, 0.0, 1.0, 0.5, 1.0]),
    prompt_tokens=torch.tensor([10, 20, 10, 30, 20, 30]),
    response_tokens=torch.tensor([1, 2, 3, 4, 5, 6]),
    accuracy=torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0]),
    layout=torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 1.0]),
)
KEPT = torch.tensor([0, 1, 2])
EVERY_ROW = torch.arange(6)
NO_ROW = EVERY_ROW[:0]


def metrics(sampled: SampledRows = SAMPLED, kept: torch.Tensor = KEPT) -> dict[str, float]:
    return step_metrics(sampled, kept, rounds=2, surplus=1)


def test_every_metric_by_hand():
    assert metrics() == pytest.approx(
        {
            "cppo/questions": 3,
            "cppo/completions_sampled": 6,
            "cppo/completions_kept": 3,
            "cppo/kept_fraction": 0.5,
            "cppo/tokens_sampled": 120 + 21,
            "cppo/tokens_trained": 40 + 6,
            "cppo/zero_variance_questions": 1,
            "cppo/rounds": 2,
            "cppo/surplus": 1,
            "cppo/kept/positive_advantage_share": 2 / 3,
            "cppo/sampled/reward": 7 / 6,
            "cppo/sampled/accuracy": 2 / 6,
            "cppo/sampled/response_length": 21 / 6,
            "cppo/sampled/abs_advantage": 4 / 6,
            "cppo/kept/reward": 1.5,
            "cppo/kept/accuracy": 2 / 3,
            "cppo/kept/response_length": 2,
            "cppo/kept/abs_advantage": 3.5 / 3,
            "cppo/pruned/reward": 2.5 / 3,
            "cppo/pruned/accuracy": 0,
            "cppo/pruned/response_length": 5,
            "cppo/pruned/abs_advantage": 0.5 / 3,
            "cppo/kinds/format_right_answer_right/sampled": 1,
            "cppo/kinds/format_right_answer_right/kept": 1,
            "cppo/kinds/format_right_answer_wrong/sampled": 3,
            "cppo/kinds/format_right_answer_wrong/kept": 0,
            "cppo/kinds/format_wrong_answer_right/sampled": 1,
            "cppo/kinds/format_wrong_answer_right/kept": 1,
            "cppo/kinds/format_wrong_answer_wrong/sampled": 1,
            "cppo/kinds/format_wrong_answer_wrong/kept": 1,
        }
    )


def test_plain_numbers_for_the_logger():
    assert {type(value) for value in metrics().values()} == {int, float}


def test_no_pruning_has_no_pruned_rows():
    found = metrics(kept=EVERY_ROW)
    assert not [key for key in found if key.startswith("cppo/pruned/")]
    assert found["cppo/kept_fraction"] == 1
    assert found["cppo/tokens_trained"] == found["cppo/tokens_sampled"]
    for name in ("reward", "accuracy", "response_length", "abs_advantage"):
        assert found[f"cppo/kept/{name}"] == found[f"cppo/sampled/{name}"]


def test_nothing_kept_has_no_kept_rows():
    found = metrics(kept=NO_ROW)
    assert not [key for key in found if key.startswith("cppo/kept/")]
    assert found["cppo/completions_kept"] == found["cppo/kept_fraction"] == found["cppo/tokens_trained"] == 0


def test_accuracy_only_where_it_is_reported():
    without = replace(SAMPLED, layout=None)
    assert metrics(without).keys() - metrics(replace(without, accuracy=None)).keys() == {
        f"cppo/{rows}/accuracy" for rows in ("sampled", "kept", "pruned")
    }


@pytest.mark.parametrize("missing", ["accuracy", "layout"])
def test_kinds_only_where_both_format_and_answer_are_reported(missing):
    assert not [key for key in metrics(replace(SAMPLED, **{missing: None})) if key.startswith("cppo/kinds/")]


@pytest.mark.parametrize(
    "fractions, found",
    [
        ([], {}),
        ([0.0, 0.2, 0.4], {1: 0.0, 2: 0.2, 3: 0.4}),
        ([float(n) for n in range(16)], {place: 2 * place - 1.5 for place in range(1, 9)}),
    ],
)
def test_clipping_by_the_place_of_an_update_in_its_step(fractions, found):
    assert clipping_by_place(fractions) == {f"cppo/pg_clipfrac/{place}": value for place, value in found.items()}


def test_kinds_add_up():
    found = metrics()
    for what, total in (("sampled", "cppo/completions_sampled"), ("kept", "cppo/completions_kept")):
        assert sum(found[f"cppo/kinds/{kind}/{what}"] for kind in KINDS) == found[total]


def test_flat_questions_are_counted_though_their_mean_rounds():
    rewards = torch.full((7,), 0.1)
    advantage = (rewards - rewards.mean()) / (rewards.std() + 1e-6)
    assert advantage.any()  # the rounded mean is not 0.1
    rows = [torch.cat([advantage, SAMPLED.advantage]), np.array(["d"] * 7 + list(SAMPLED.question), dtype=object)]
    ones = torch.ones(13)
    found = metrics(SampledRows(rows[1], rows[0], ones, ones, ones))
    assert found["cppo/zero_variance_questions"] == 2


def test_the_sampled_mean_is_that_of_kept_and_pruned():
    found = metrics(kept=torch.tensor([0, 3]))
    share = found["cppo/kept_fraction"]
    for name in ("reward", "accuracy", "response_length", "abs_advantage"):
        parts = share * found[f"cppo/kept/{name}"] + (1 - share) * found[f"cppo/pruned/{name}"]
        assert found[f"cppo/sampled/{name}"] == pytest.approx(parts)


def test_without_advantages_of_completions_nothing_is_said_of_them():
    """As with a critic, which gives one to each token."""
    full, found = metrics(), metrics(replace(SAMPLED, advantage=None))
    left_out = {key for key in full if "advantage" in key} | {"cppo/zero_variance_questions"}
    assert found == {key: value for key, value in full.items() if key not in left_out}


def test_texts_are_no_curves():
    """Single words are counted by themselves while they are few; each row counts once."""
    words = np.array(["equal", "equal", "no gold: 12 < 13", 3.0, None, "4"], dtype=object)
    assert Outcomes().count(words) == {"equal": 2, "other": 4}
    assert Outcomes().count(np.array([f"w{n}" for n in range(40)], dtype=object)) == {"other": 40}


def test_texts_of_many_small_steps_are_no_curves_either():
    outcomes, curves = Outcomes(), set()
    for step in range(100):
        words = np.array([f"answer_{step}_{row}" for row in range(4)], dtype=object)
        counted = outcomes.count(words)
        assert counted.total() == 4
        curves |= counted.keys()
    assert len(curves) <= MOST_OUTCOMES + 1 and counted == {"other": 4}

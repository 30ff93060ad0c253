"""`metric=unbiased`: every question keeps k, each row as often as it should; the expected gradient is that of all G."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cppo_verl.algorithm import pruning
from cppo_verl.algorithm.allocation import Allocator
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.planning import plan_step
from cppo_verl.algorithm.pruning import select_completions
from cppo_verl.algorithm.unbiased import CERTAIN, draw, importance_weights, inclusion_probabilities

EXAMPLES = {
    "all different": ([2.0, -1.5, 0.25, 0.1, -0.85, 0.0], 3),
    "one outweighs the rest": ([9.0, -0.1, 0.2, -0.3, 0.1, 0.0], 2),
    "some are certain": ([5.0, -4.0, 0.2, -0.3, 0.1, -1.0], 4),
    "ties": ([1.0, 1.0, -1.0, -1.0, 1.0, -1.0], 4),
    "fewer than k with an advantage": ([1.0, -1.0, 0.0, 0.0, 0.0, 0.0], 4),
    "no advantage at all": ([0.0] * 6, 2),
    "one kept": ([0.5, -1.0, 0.5, 0.25, -0.25, 0.0], 1),
    "all kept": ([0.5, -1.0, 0.5, 0.25, -0.25, 0.0], 6),
}


@st.composite
def questions(draw_from) -> tuple[np.ndarray, int, int]:
    """Advantages of some questions of G completions, G, and k."""
    size, number = draw_from(st.integers(1, 12)), draw_from(st.integers(1, 4))
    value = st.sampled_from([0.0, 1.0, -1.0, 0.5, -2.0]) | st.floats(-3, 3, width=32) | st.sampled_from([1e-12, -1e-30])
    values = draw_from(st.lists(value, min_size=size * number, max_size=size * number))
    return np.array(values), size, draw_from(st.integers(1, size))


def probabilities(values: np.ndarray, size: int, keep: int) -> np.ndarray:
    """`(questions, size)`."""
    starts = np.arange(0, len(values), size)
    return inclusion_probabilities(values, starts, np.full(len(starts), size), keep).reshape(-1, size)


@given(questions())
def test_probabilities_are_in_proportion_to_the_advantage_and_at_most_1(asked):
    values, size, keep = asked
    for strength, chances in zip(np.abs(values).reshape(-1, size), probabilities(*asked), strict=True):
        assert ((chances >= 0) & (chances <= 1)).all()
        assert chances.sum() == pytest.approx(keep)
        drawn = chances < CERTAIN
        assert strength[~drawn].min(initial=np.inf) >= strength[drawn].max(initial=0)
        if (strength[drawn] > 0).any():
            ratio = chances[drawn & (strength > 0)] / strength[drawn & (strength > 0)]
            np.testing.assert_allclose(ratio, ratio[0])
            assert chances[strength == 0].max(initial=0) < 1e-100


@given(questions(), st.integers(0, 2**32 - 1).map(lambda bits: bits / 2**32))
def test_every_question_keeps_k_wherever_the_lot_falls(asked, lot):
    values, size, keep = asked
    chances = probabilities(*asked)
    starts = np.arange(0, len(values), size)
    kept = draw(chances.ravel(), starts, np.full(len(starts), size), np.full(len(starts), lot)).reshape(-1, size)
    assert (kept.sum(1) == keep).all()
    assert kept[chances >= CERTAIN].all()


@given(questions())
def test_each_row_is_kept_for_the_share_of_lots_that_is_its_probability(asked):
    chances = probabilities(*asked)[0]
    found = np.zeros_like(chances)
    for share, lot in lots(chances):
        found += share * draw(chances, np.zeros(1, int), np.array([len(chances)]), np.array([lot]))
    np.testing.assert_allclose(found, chances, atol=1e-8)


def lots(chances: np.ndarray) -> Iterator[tuple[float, float]]:
    """All that a lot can decide: the share of the lots that decide the same, and one of them."""
    ends = np.cumsum(np.where(chances > CERTAIN, 0, chances)) % 1
    between = np.unique(np.concatenate([[0.0, 1.0], ends]))
    for low, high in itertools.pairwise(between):
        if high - low > 1e-12:  # else two ends that are equal but for rounding
            yield high - low, (low + high) / 2


def all_draws(advantages: torch.Tensor, keep: int, monkeypatch) -> Iterator[tuple[float, torch.Tensor]]:
    """Every choice that `select_completions` can make of one question, with its probability."""
    chances = probabilities(np.sort(advantages.numpy()), len(advantages), keep)[0]  # in a line by A, as they are drawn
    for share, lot in lots(chances):
        monkeypatch.setattr(pruning, "group_lots", lambda keys, starts, lot=lot: np.full(len(starts), lot))
        yield share, select_completions(advantages, [0] * len(advantages), keep, metric="unbiased")


# --- the gradient ---

TOKENS = 5
LENGTHS = 3, 1, 4, 2, 6, 2


@pytest.fixture(scope="module")
def completions() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(TOKENS, (length,), generator=generator) for length in LENGTHS]


def gradient(completions, advantages, rows, weights, logits, old_logits, beta=0.0) -> torch.Tensor:
    """Of Eq. 9 over these rows, with respect to the logits of a policy that draws each token alike."""
    logits = logits.clone().requires_grad_()
    terms = []
    for row in rows:
        new, old = logits.log_softmax(0)[completions[row]], old_logits.log_softmax(0)[completions[row]]
        ratio, advantage = (new - old).exp(), advantages[row] * weights[row]
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        kl = (old - new).exp() - (old - new) - 1
        terms.append((surrogate - beta * kl).mean())
    torch.stack(terms).mean().backward()
    return logits.grad


@pytest.mark.parametrize("distance", [0.0, 1.5], ids=["at the old policy", "where ratios are clipped"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_expected_gradient_is_that_of_all_completions(name, distance, completions, monkeypatch):
    """Eq. 9 without KL, in float64, over every choice that can be made."""
    values, keep = EXAMPLES[name]
    advantages = torch.tensor(values, dtype=torch.double)
    old = torch.linspace(-1, 1, TOKENS, dtype=torch.double)
    policy = old + distance * torch.tensor([1.0, -1.0, 0.5, 0.0, -0.5], dtype=torch.double)
    weights = importance_weights(advantages, [0] * 6, keep)
    expected = gradient(completions, advantages, range(6), torch.ones(6), policy, old)
    found, total = torch.zeros(TOKENS, dtype=torch.double), 0.0
    for share, kept in all_draws(advantages, keep, monkeypatch):
        assert len(kept) == keep
        found += share * gradient(completions, advantages, kept, weights, policy, old)
        total += share
    assert total == pytest.approx(1)
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=1e-7)


def test_what_the_weights_do_not_make_unbiased(completions, monkeypatch):
    """The paper's rule, and the KL term, whose expectation weighs the completions of large |A| more."""
    values, keep = EXAMPLES["all different"]
    advantages = torch.tensor(values, dtype=torch.double)
    old, policy = torch.zeros(TOKENS, dtype=torch.double), torch.linspace(-1, 1, TOKENS, dtype=torch.double)
    ones, nothing = torch.ones(6), torch.zeros(6, dtype=torch.double)
    kept = select_completions(advantages, [0] * 6, keep, metric="smallest")
    biased = gradient(completions, advantages, kept, ones, policy, old)
    assert (biased - gradient(completions, advantages, range(6), ones, policy, old)).norm() > 0.01
    kl = [
        (p, gradient(completions, nothing, rows, ones, policy, old, 1.0))
        for p, rows in all_draws(advantages, keep, monkeypatch)
    ]
    expected = gradient(completions, nothing, range(6), ones, policy, old, 1.0)
    assert (sum(share * of_draw for share, of_draw in kl) - expected).norm() > 0.01


def test_weighted_advantages_by_hand():
    """Where no probability is cut off, all are of the same size, the mean |A|; a certain one is k/G of its own."""
    advantages = torch.tensor([1.0, -2.0, 0.5, -0.5, 100.0, -1.0, 0.0, 2.0], dtype=torch.double)
    weighted = advantages * importance_weights(advantages, [0] * 4 + [1] * 4, 2)
    assert weighted[:4].tolist() == pytest.approx([1.0, -1.0, 1.0, -1.0])
    assert weighted[4:].tolist() == pytest.approx([50.0, -1.5, 0.0, 1.5])  # 3 is the sum of the rest, of which one


@given(questions())
def test_weights_are_finite_above_0_and_1_where_nothing_is_pruned(asked):
    values, size, keep = asked
    groups = np.repeat(np.arange(len(values) // size), size)
    order = np.random.default_rng(0).permutation(len(values))
    weights = importance_weights(torch.from_numpy(values[order]), groups[order], keep)
    assert (weights > 0).all() and torch.isfinite(weights * torch.from_numpy(values[order])).all()
    if keep == size:
        assert (weights == 1).all()
    in_order = importance_weights(torch.from_numpy(values), groups, keep)
    torch.testing.assert_close(weights, in_order[order])


# --- the lots of a run ---


@pytest.mark.parametrize("name", EXAMPLES)
def test_over_seeds_and_questions_each_row_is_kept_as_often_as_it_should(name):
    values, keep = EXAMPLES[name]
    chances = probabilities(np.array(values), 6, keep)[0]
    ids = [f"{question}:{sample}" for question in range(200) for sample in range(6)]
    found = np.zeros(6)
    for seed in range(20):
        kept = select_completions(
            torch.tensor(values * 200), np.repeat(range(200), 6), keep, metric="unbiased", seed=seed, row_ids=ids
        )
        found += np.bincount(kept % 6, minlength=6)
    error = found / 4000 - chances
    assert (np.abs(error) <= 4.5 * np.sqrt(chances * (1 - chances) / 4000) + 1e-6).all(), found / 4000


def test_a_step_trains_on_weighted_advantages_and_leaves_out_its_surplus_by_lot():
    """3 questions keep 2 of 4 each; mini-batches of 4 rows, or of 2, on two ranks take 4 of the 6 rows."""
    plan = plan_step(0.5, 4, 6, 2, dp_size=2, allocation=False)
    advantages = torch.tensor([1.0, -2.0, 0.5, -0.5] * 4)
    groups, ids = np.repeat(range(4), 4), [f"1:{row}" for row in range(16)]
    left_out = np.zeros(2)
    for seed in range(200):
        options = {"metric": "unbiased", "zero_variance": "drop", "max_gen_rounds": 1, "seed": seed}
        allocator = Allocator(plan, CPPOConfig(pruning_rate=0.5, allocation=False, **options))
        allocator.add(advantages[:8], groups[:8], ids[:8])
        allocator.add(advantages[8:12], groups[8:12], ids[8:12])
        taken = allocator.take()
        assert (len(taken.rows), taken.surplus) == (4, 2)
        torch.testing.assert_close((advantages[taken.rows] * taken.weights).abs(), torch.ones(4, dtype=torch.double))
        backwards = taken.rows.flip(0).tolist()
        torch.testing.assert_close(taken.weights_of(backwards), taken.weights.flip(0))
        surplus = np.setdiff1d(allocator.kept, taken.rows)
        left_out += [(advantages[surplus].abs() == 2).sum(), (advantages[surplus].abs() < 2).sum()]
    kept_of_2 = probabilities(advantages[:4].double().numpy(), 4, 2)[0][1] / 2
    assert left_out[0] / left_out.sum() == pytest.approx(kept_of_2, abs=0.1), "as often as they are kept"


@pytest.mark.parametrize("metric", ["smallest", "random"])
def test_weights_of_other_rules_are_1(metric):
    allocator = Allocator(plan_step(0.5, 4, 2, 2), CPPOConfig(pruning_rate=0.5, metric=metric))
    allocator.add(torch.tensor([1.0, -2.0, 0.5, -0.5] * 4), np.repeat(range(4), 4), [str(row) for row in range(16)])
    assert allocator.take().weights.tolist() == [1.0] * 8

"""Which completions are kept: the invariants of `pruning.py` on batches full of ties, and fairness among ties."""

import inspect
import itertools
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.lots import tie_keys
from cppo_verl.algorithm.options import CPPOConfig, Metric, Scope, ZeroVariance
from cppo_verl.algorithm.pruning import select_completions

REWARDS = st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0])
ROUNDING_REWARDS = st.sampled_from([0.1, 0.2, 0.7, 1 / 3, 1.1])
UNEQUAL_SIZES = st.lists(st.integers(1, 8), min_size=1, max_size=5)
EQUAL_SIZES = st.integers(1, 5).flatmap(lambda size: st.lists(st.just(size), min_size=1, max_size=5))
METRICS, SCOPES, ZERO_VARIANCES = map(get_args, (Metric, Scope, ZeroVariance))
POOLED = [metric for metric in METRICS if metric != "unbiased"]
"""What can rank a whole batch."""
STRENGTH = {
    "smallest": np.abs,
    "largest": lambda a: -np.abs(a),
    "smallest_raw": lambda a: a,
    "largest_raw": lambda a: -a,
}
OPTIONS = st.fixed_dictionaries(
    {
        "metric": st.sampled_from(METRICS),
        "scope": st.sampled_from(SCOPES),
        "zero_variance": st.sampled_from(ZERO_VARIANCES),
        "seed": st.integers(-(2**63), 2**63 - 1),
    }
).map(lambda options: options | ({"scope": "question"} if options["metric"] not in POOLED else {}))


@dataclass(frozen=True)
class Batch:
    advantages: torch.Tensor
    rewards: np.ndarray
    groups: np.ndarray
    ids: np.ndarray
    keep: int

    def select(self, keep: int | None = None, **options) -> np.ndarray:
        return select_completions(self.advantages, self.groups, keep or self.keep, row_ids=self.ids, **options).numpy()

    def permuted(self, order: list[int]) -> "Batch":
        return Batch(self.advantages[order], self.rewards[order], self.groups[order], self.ids[order], self.keep)

    def flat_rows(self) -> np.ndarray:
        return np.array([len(set(self.rewards[self.groups == group])) == 1 for group in self.groups], dtype=bool)


def grpo_advantages(rewards: list[float]) -> torch.Tensor:
    """verl's: unbiased std, 1e-6 added; a lone completion's advantage is its reward."""
    values = torch.tensor(rewards)
    return (values - values.mean()) / (values.std() + 1e-6) if len(values) > 1 else values


@st.composite
def batches(draw, sizes=UNEQUAL_SIZES, rewards=REWARDS) -> Batch:
    """Questions of a few completions each, their rows in any order."""
    sizes = draw(sizes)
    questions = [draw(st.lists(rewards, min_size=size, max_size=size)) for size in sizes]
    total = sum(sizes)
    groups = np.repeat(np.array([f"q{i}" for i in range(len(sizes))], dtype=object), sizes)
    ids = np.array([f"7:{row}" for row in range(total)], dtype=object)
    advantages = torch.cat([grpo_advantages(question) for question in questions])
    batch = Batch(advantages, np.concatenate(questions), groups, ids, draw(st.integers(1, min(sizes))))
    return batch.permuted(draw(st.permutations(range(total))))


def assert_invariants(kept: np.ndarray, batch: Batch, scope: str, zero_variance: str) -> None:
    rows = np.arange(len(batch.groups))
    if zero_variance == "drop":
        rows = rows[~batch.flat_rows()]
    assert np.isin(kept, rows).all()
    assert (np.diff(kept) > 0).all()
    questions = set(batch.groups[rows])
    assert len(kept) == batch.keep * len(questions)
    if scope == "question":
        assert all((batch.groups[kept] == question).sum() == batch.keep for question in questions)


def equal_up_to_order(left, right) -> bool:
    return np.array_equal(np.sort(left), np.sort(right))


# --- what is kept ---


@given(batches(), OPTIONS)
def test_an_ascending_subset_with_k_of_each_question(batch, options):
    assert_invariants(batch.select(**options), batch, options["scope"], options["zero_variance"])


@given(batches(), OPTIONS, st.data())
def test_permuted_rows_permute_the_choice(batch, options, data):
    permuted = batch.permuted(data.draw(st.permutations(range(len(batch.ids)))))
    assert set(permuted.ids[permuted.select(**options)]) == set(batch.ids[batch.select(**options)])


@given(batches(EQUAL_SIZES), OPTIONS)
def test_keeping_all_is_the_identity(batch, options):
    group_size = len(batch.groups) // len(set(batch.groups))
    everything = batch.select(**(options | {"zero_variance": "keep"}), keep=group_size)
    assert everything.tolist() == list(range(len(batch.groups)))


@given(batches(), st.sampled_from(sorted(STRENGTH)), st.sampled_from(ZERO_VARIANCES))
def test_the_kept_dominate_the_pruned(batch, metric, zero_variance):
    strength = STRENGTH[metric](batch.advantages.numpy())
    is_kept = np.isin(np.arange(len(strength)), batch.select(metric=metric, zero_variance=zero_variance))
    for question in set(batch.groups[is_kept]):
        mine = batch.groups == question
        assert strength[mine & is_kept].min() >= strength[mine & ~is_kept].max(initial=-np.inf)


@given(batches(), st.sampled_from(sorted(STRENGTH)))
def test_the_pooled_choice_is_the_top_of_the_batch(batch, metric):
    strength = STRENGTH[metric](batch.advantages.numpy())
    kept = batch.select(metric=metric, scope="batch")
    top = np.sort(strength)[-batch.keep * len(set(batch.groups)) :]
    assert np.allclose(np.sort(strength[kept]), top, rtol=1e-5)  # |A| is compared to 18 bits


@given(batches(), OPTIONS, st.sampled_from(POOLED))
def test_the_pooled_batch_is_one_large_question(batch, options, metric):
    options |= {"zero_variance": "keep", "metric": metric}
    one = Batch(batch.advantages, batch.rewards, np.zeros_like(batch.groups), batch.ids, 0)
    pooled = batch.select(**options | {"scope": "batch"})
    assert (pooled == one.select(keep=len(pooled), **options | {"scope": "question"})).all()


@given(batches())
def test_each_distinct_advantage_is_kept_once_before_any_is_kept_twice(batch):
    """And those of larger |A| before those of smaller, among the first of their advantage and among the rest."""
    kept, values = batch.select(metric="distinct"), np.round(batch.advantages.numpy(), 4)
    for question in set(batch.groups):
        mine, chosen = values[batch.groups == question], values[kept][batch.groups[kept] == question]
        counts = {value: ((mine == value).sum(), (chosen == value).sum()) for value in set(mine)}
        never = [abs(value) for value, (_, times) in counts.items() if times == 0]
        once = [abs(value) for value, (there, times) in counts.items() if times == 1 < there]
        more = [abs(value) for value, (_, times) in counts.items() if times > 1]
        assert not (never and more)
        assert max(never, default=0) <= min((abs(v) for v in chosen), default=0)
        assert max(once, default=0) <= min(more, default=np.inf)


def test_distinct_by_hand():
    advantages = torch.tensor([1.0, 1.0, -1.0, 0.25, 0.25, -2.0])
    kept = [set(advantages[select_completions(advantages, [0] * 6, k, metric="distinct")].tolist()) for k in (1, 2, 4)]
    assert kept[0] == {-2.0} and kept[1] < {-2.0, 1.0, -1.0} and kept[2] == {-2.0, 1.0, -1.0, 0.25}
    assert sorted(advantages[select_completions(advantages, [0] * 6, 5, metric="distinct")].tolist()) == [
        *(-2.0, -1.0, 0.25, 1.0, 1.0),
    ]


@given(batches(rewards=REWARDS | st.floats(-3, 3, width=32)))
def test_max_variance_is_that_of_the_best_of_all_subsets(batch):
    kept, values = batch.select(metric="max_variance"), batch.advantages.double().numpy()
    for question in set(batch.groups):
        mine = values[batch.groups == question]
        chosen = values[kept][batch.groups[kept] == question]
        best = max(np.var(subset) for subset in itertools.combinations(mine, batch.keep))
        assert np.var(chosen) == pytest.approx(best, rel=1e-6, abs=1e-12)


@given(batches(rewards=REWARDS) | batches(rewards=ROUNDING_REWARDS), OPTIONS)
def test_drop_leaves_out_the_flat_questions_and_no_other(batch, options):
    kept = batch.select(**options | {"zero_variance": "drop", "scope": "question"})
    assert set(batch.groups[kept]) == set(batch.groups[~batch.flat_rows()])


def test_a_flat_question_is_dropped_though_its_mean_rounds():
    advantages = grpo_advantages([0.1] * 7)
    assert advantages.any()  # the rounded mean is not 0.1
    assert select_completions(advantages, [0] * 7, 2, zero_variance="drop").tolist() == []
    assert len(select_completions(advantages, [0] * 7, 2)) == 2


# --- ties ---

TIED = {
    "flat": ([0.0] * 8, METRICS),
    "signed zeros": ([0.0, -0.0] * 4, METRICS),
    "half right": ([1.0] * 4 + [-1.0] * 4, ("smallest", "largest", "random", "max_variance")),
    "tied winners": ([1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5], ("smallest", "smallest_raw")),
    "tied among distinct": ([1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0], ("distinct",)),
    "tied losers": ([1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5], ("largest", "largest_raw")),
}
TIE_CASES = [
    pytest.param(torch.tensor(values), metric, id=f"{name}-{metric}")
    for name, (values, metrics) in TIED.items()
    for metric in metrics
]
ID_KINDS = {
    "str": lambda step, sample: f"{step}:{sample}",
    "int": lambda step, sample: 8 * step + sample,
    "tuple": lambda step, sample: (step, sample),
}


def assert_even(counts: np.ndarray) -> None:
    """Every row that is ever kept is kept about as often: Pearson's statistic, 7 degrees, p = 1e-5."""
    counts = counts[counts > 0]
    assert len(counts) in (4, 8)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 36, counts


@pytest.mark.parametrize("advantages, metric", TIE_CASES)
def test_over_seeds_each_tied_row_is_kept_about_equally_often(advantages, metric):
    ids = np.array([f"3:0:{sample}" for sample in range(8)], dtype=object)
    counts = np.zeros(8)
    for seed in range(600):
        counts[select_completions(advantages, [0] * 8, 3, metric=metric, seed=seed, row_ids=ids)] += 1
    assert_even(counts)


@pytest.mark.parametrize("kind", ID_KINDS)
@pytest.mark.parametrize("advantages, metric", TIE_CASES)
def test_over_questions_no_position_is_preferred(advantages, metric, kind):
    """One seed, as in a run: the lots fall anew for every question, whatever its ids look like."""
    ids = [ID_KINDS[kind](step, sample) for step in range(2000) for sample in range(8)]
    kept = select_completions(advantages.repeat(2000), np.repeat(range(2000), 8), 3, metric=metric, row_ids=ids)
    assert_even(np.bincount(kept % 8, minlength=8))


def test_each_set_of_rows_is_drawn_about_equally_often():
    kept = select_completions(torch.zeros(20_000), np.repeat(range(5000), 4), 2, metric="random", seed=5)
    sets = np.unique((kept % 4).reshape(-1, 2).numpy(), axis=0, return_counts=True)[1]
    assert len(sets) == 6
    assert ((sets - sets.mean()) ** 2 / sets.mean()).sum() < 31


@pytest.mark.parametrize("metric", METRICS)
def test_different_seeds_differ(metric):
    choices = {tuple(select_completions(torch.zeros(64), [0] * 64, 32, metric=metric, seed=s)) for s in range(50)}
    assert len(choices) == 50


def kept_by_kind(ids: dict[str, list]) -> dict[str, list[int]]:
    questions = [row // 6 for row in range(60)]
    return {
        kind: select_completions(torch.zeros(60), questions, 2, seed=4, row_ids=rows).tolist()
        for kind, rows in ids.items()
    }


def test_another_process_keeps_the_same_rows():
    """As after a resume: Python's own hash of a string would differ."""
    ids = {kind: [row_id(1, sample) for sample in range(60)] for kind, row_id in ID_KINDS.items()}
    imports = "import torch\nfrom cppo_verl.algorithm.pruning import select_completions\n"
    script = f"{imports}{inspect.getsource(kept_by_kind)}print(kept_by_kind({ids!r}))"
    environment = os.environ | {"PYTHONHASHSEED": "77"}
    there = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == str(kept_by_kind(ids))


@pytest.mark.parametrize("kind", ID_KINDS)
def test_a_rows_key_is_its_own(kind):
    """Neither the other rows of the batch nor its order enter a key, and no two rows share one."""
    ids = [ID_KINDS[kind](2, sample) for sample in range(100)]
    keys = tie_keys(ids, 9)
    assert (tie_keys(ids[:30:-1], 9) == keys[:30:-1]).all()
    assert len(set(keys)) == 100


@pytest.mark.parametrize("ids", [np.arange(8), torch.arange(8), torch.arange(8, dtype=torch.int32)], ids=repr)
def test_a_key_does_not_depend_on_the_container_of_numbers(ids):
    assert (tie_keys(ids, 1) == tie_keys(list(range(8)), 1)).all()


def test_a_key_does_not_depend_on_the_container_of_strings():
    assert (tie_keys(np.array(["a", "bc"]), 1) == tie_keys(["a", "bc"], 1)).all()


@pytest.mark.parametrize("seed", [-1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64])
def test_every_seed_that_the_config_accepts_breaks_ties(seed):
    try:
        CPPOConfig(seed=seed)
    except ConfigError:
        return
    assert len(set(tie_keys(["a", "b"], seed))) == 2


# --- inputs ---


@pytest.mark.parametrize(
    "groups",
    [
        ["a", "b", "a", "b"],
        [(0, "a"), (0, "b"), (0, "a"), (0, "b")],
        np.array(["a", "b", "a", "b"]),
        np.array(["a", "b", "a", "b"], dtype=object),
        np.array([9, 4, 9, 4]),
        torch.tensor([9, 4, 9, 4]),
        torch.tensor([9, 4, 9, 4], dtype=torch.int32),
    ],
    ids=repr,
)
@pytest.mark.parametrize("metric", METRICS)
def test_any_kind_of_group_id(groups, metric):
    advantages = torch.tensor([0.0, 1.0, 0.0, -1.0])
    expected = select_completions(advantages, [7, 2, 7, 2], 1, metric=metric)
    assert (select_completions(advantages, groups, 1, metric=metric) == expected).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_any_float_type_and_the_input_is_left_alone(dtype):
    advantages = torch.tensor([1.0, -2.0, 0.5, 0.25], dtype=dtype, requires_grad=True)
    kept = select_completions(advantages, [0, 0, 1, 1], 1)
    assert kept.tolist() == [1, 2] and kept.dtype == torch.long
    assert advantages.tolist() == [1.0, -2.0, 0.5, 0.25]


@pytest.mark.parametrize(
    "metric, scope, zero_variance",
    [
        *itertools.product(POOLED, SCOPES, ZERO_VARIANCES),
        *itertools.product(["unbiased"], ["question"], ZERO_VARIANCES),
    ],
)
def test_an_empty_batch_keeps_nothing(metric, scope, zero_variance):
    kept = select_completions(torch.empty(0), [], 2, metric=metric, scope=scope, zero_variance=zero_variance)
    assert kept.shape == (0,) and kept.dtype == torch.long


@pytest.mark.parametrize(
    "advantages, groups, keep, ids, message",
    [
        ([1.0, 2.0], [0], 1, None, "2 advantages, 1 groups and 2 row ids"),
        ([1.0, 2.0], [0, 0], 1, ["a"], "2 advantages, 2 groups and 1 row ids"),
        ([1.0, float("nan")], [0, 0], 1, None, "1 of 2 advantages are not finite"),
        ([1.0, float("inf")], [0, 0], 1, None, "1 of 2 advantages are not finite"),
        ([1.0, 2.0], [0, 0], 0, None, "keep=0 must be at least 1"),
        ([1.0, 2.0, 3.0], [0, 0, 1], 2, None, "a question has 1 completions, fewer than the 2 to keep"),
        ([[1.0, 2.0], [3.0, 4.0]], [0, 0], 1, None, r"got shape \(2, 2\)"),
    ],
)
def test_errors(advantages, groups, keep, ids, message):
    with pytest.raises(ValueError, match=message):
        select_completions(torch.tensor(advantages), groups, keep, row_ids=ids)

"""Filling a step round after round: exact in one round, never too many rows, never an uneven rest."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cppo_verl.algorithm import planning
from cppo_verl.algorithm.allocation import Allocation, Allocator
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.step_plan import StepPlan

plan_step = partial(planning.plan_step, mini_batch="completions")
"""With updates of as many completions as GRPO's: fewer of them, and more to fill."""


@st.composite
def plans(draw) -> StepPlan:
    """Any small step, allocation on or off, over one to several ranks."""
    n, allocation = draw(st.sampled_from([2, 4, 8])), draw(st.booleans())
    keep = draw(st.sampled_from([k for k in (1, 2, 4, 8) if k <= n]))
    mini = draw(st.integers(1, 4))
    mini_batch_rows = mini * (n if allocation else keep)
    dp = draw(st.sampled_from([d for d in (1, 2, 3, 4) if mini_batch_rows % d == 0]))
    return plan_step(f"{n - keep}/{n}", n, mini * draw(st.integers(1, 4)), mini, dp, allocation=allocation)


def configs(zero_variance: str) -> st.SearchStrategy[CPPOConfig]:
    return st.builds(
        CPPOConfig,
        metric=st.sampled_from(["smallest", "largest", "largest_raw", "random", "max_variance"]),
        scope=st.sampled_from(["question", "batch"]),
        zero_variance=st.just(zero_variance),
        max_gen_rounds=st.integers(1, 5),
        seed=st.integers(0, 9),
    )


BADNESS = {"smallest": lambda a: -a.abs(), "largest": lambda a: a.abs(), "largest_raw": lambda a: a}
"""Metric to what it prunes by, the largest first."""


@dataclass
class Step:
    """A step on made-up rewards: questions are flat with a chance, and may run out."""

    allocator: Allocator
    flat_chance: float
    supply: int
    rng: np.random.Generator
    advantages: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    asked: list[int] = field(default_factory=list)

    def run(self) -> Allocation:
        while taken := min(self._ask(), self.supply):
            self.supply -= taken
            self._add(taken)
            assert_invariants(self.allocator)
        return self.allocator.take()

    def _ask(self) -> int:
        self.asked.append(self.allocator.questions_needed())
        return self.asked[-1]

    def _add(self, questions: int) -> None:
        n, done = self.allocator.plan.rollout_n, self.allocator.sampled
        flat = self.rng.random((questions, 1)) < self.flat_chance
        rewards = self.rng.choice([0.0, 1.0, 2.0, 3.0], (questions, n))
        rewards[:, 0], rewards[:, -1] = 0.0, 3.0
        advantages = torch.from_numpy(np.where(flat, 0.0, rewards - rewards.mean(1, keepdims=True)).ravel())
        ids = [f"5:{row}" for row in range(done, done + questions * n)]
        before = self.allocator.kept
        kept = self.allocator.add(advantages, np.repeat(range(questions), n), ids)
        assert self.allocator.kept.tolist() == [*before.tolist(), *(kept + done).tolist()]
        assert self.allocator.sampled == done + questions * n
        self.advantages = torch.cat([self.advantages, advantages])


def assert_invariants(allocator: Allocator) -> None:
    plan, kept = allocator.plan, allocator.kept
    assert len(kept) <= plan.rows
    assert len(kept) % plan.keep == 0
    assert (kept.diff() > 0).all() and (kept < allocator.sampled).all()
    assert allocator.room == plan.rows - len(kept)
    assert allocator.rounds <= (allocator.config.max_gen_rounds if allocator.config.zero_variance == "drop" else 1)
    wanted = allocator.questions_needed()
    assert not wanted or allocator.room <= wanted * plan.keep <= plan.rows


def assert_conserved(step: Step, taken: Allocation) -> None:
    allocator, plan = step.allocator, step.allocator.plan
    assert (taken.rows.diff() > 0).all()
    assert torch.isin(taken.rows, allocator.kept).all()
    assert len(taken.rows) + taken.surplus == len(allocator.kept) + allocator.spare
    assert not allocator.spare or len(allocator.kept) == plan.rows
    assert (len(taken.rows), taken.mini_batch_rows) == plan.trim(len(allocator.kept))
    assert len(taken.rows) % plan.dp_size == taken.mini_batch_rows % plan.dp_size == 0
    assert len(taken.rows) % max(taken.mini_batch_rows, 1) == 0
    left_over = allocator.kept[~torch.isin(allocator.kept, taken.rows)]
    if len(left_over) and len(taken.rows) and (badness := BADNESS.get(allocator.config.metric)):
        assert badness(step.advantages[left_over]).min() >= badness(step.advantages[taken.rows]).max()


@given(plans(), configs("keep"), st.floats(0, 1), st.integers(0, 99))
def test_keep_fills_the_step_in_one_round(plan, config, flat_chance, seed):
    step = Step(Allocator(plan, config), flat_chance, 10**6, np.random.default_rng(seed))
    taken = step.run()
    assert step.asked == [plan.questions, 0]
    assert taken.rows.tolist() == step.allocator.kept.tolist()
    assert (len(taken.rows), taken.mini_batch_rows, taken.surplus) == (plan.rows, plan.mini_batch_rows, 0)
    assert_conserved(step, taken)


@given(plans(), configs("drop"), st.floats(0, 1), st.integers(0, 99), st.integers(0, 300))
def test_drop_samples_again_and_never_too_much(plan, config, flat_chance, seed, supply):
    step = Step(Allocator(plan, config), flat_chance, supply, np.random.default_rng(seed))
    taken = step.run()
    assert_conserved(step, taken)
    is_flat = (step.advantages.view(-1, plan.rollout_n) == 0).all(1)
    assert not is_flat[taken.rows // plan.rollout_n].any()
    if len(taken.rows) < plan.rows:
        assert step.allocator.rounds == config.max_gen_rounds or step.supply == 0
    else:
        assert step.allocator.questions_needed() == 0


@given(plans(), configs("drop"))
def test_nothing_to_train_on_when_every_question_is_flat(plan, config):
    step = Step(Allocator(plan, config), 1.0, 10**6, np.random.default_rng(0))
    taken = step.run()
    assert step.asked == [plan.questions] * config.max_gen_rounds + [0]
    assert step.allocator.sampled == plan.sampled * config.max_gen_rounds
    assert (taken.rows.tolist(), taken.mini_batch_rows, taken.surplus) == ([], 0, 0)


def test_nothing_to_train_on_before_the_first_round():
    taken = Allocator(plan_step(0.5, 4, 2, 2), CPPOConfig()).take()
    assert (taken.rows.tolist(), taken.mini_batch_rows, taken.surplus) == ([], 0, 0)


FIRST, FLAT, SECOND = [2.0, -1.0, 1.0, -2.0], [0.0] * 4, [0.5, 4.0, -0.25, -3.0]


def ids(start: int) -> list[str]:
    return [f"1:{row}" for row in range(start, start + 4)]


def test_keep_samples_once_even_when_the_data_ran_short():
    allocator = Allocator(plan_step(0.5, 4, 1, 1), CPPOConfig(pruning_rate=0.5, max_gen_rounds=4))
    allocator.add(torch.tensor(FIRST), [0] * 4, ids(0))
    assert (allocator.room, allocator.questions_needed()) == (2, 0)


def test_positions_count_all_rows_of_all_rounds():
    allocator = Allocator(plan_step(0.5, 4, 1, 1), CPPOConfig(pruning_rate=0.5, zero_variance="drop"))
    assert allocator.questions_needed() == 2
    assert allocator.add(torch.tensor(FLAT + FIRST), [0] * 4 + [1] * 4, ids(0) + ids(4)).tolist() == [4, 7]
    assert (allocator.questions_missing(), allocator.questions_needed()) == (1, 2)
    assert allocator.add(torch.tensor(SECOND), [0] * 4, ids(8)).tolist() == [1, 3]
    assert allocator.questions_needed() == 0
    assert allocator.take().rows.tolist() == [4, 7, 9, 11]


SPREAD = [9.0, -8.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("metric", "left_over"),
    [("smallest", {2.0, -2.0}), ("largest", {1.0, -1.0}), ("smallest_raw", {0.0, 0.5}), ("largest_raw", {0.0, -0.25})],
)
def test_the_surplus_is_what_the_metric_prunes(metric, left_over):
    """Three questions keep 2 of 4 each: 6 rows, of which two mini-batches of 4 over four ranks have no use for 2."""
    plan = plan_step(0.5, 4, 3, 1, dp_size=4)
    allocator = Allocator(plan, CPPOConfig(0.5, metric=metric, zero_variance="drop", max_gen_rounds=1))
    advantages = torch.tensor([*FIRST, *SPREAD, *SECOND, *FLAT * 3])
    allocator.add(advantages, np.repeat(range(6), 4), [row for start in range(0, 24, 4) for row in ids(start)])
    taken = allocator.take()
    assert (len(taken.rows), taken.mini_batch_rows, taken.surplus) == (4, 4, 2)
    assert set(advantages[np.setdiff1d(allocator.kept, taken.rows)].tolist()) == left_over


def test_a_surplus_of_distinct_ones_is_of_those_that_repeat():
    """Of 6 kept rows the two left over are the second 9 of its question, and the weakest of the others."""
    plan = plan_step("1/4", 4, 3, 1, dp_size=4)
    allocator = Allocator(plan, CPPOConfig("1/4", metric="distinct", zero_variance="drop", max_gen_rounds=1))
    advantages = torch.tensor([9.0, 9.0, 9.0, -1.0, 5.0, 3.0, -3.0, -5.0, *FLAT * 2])
    allocator.add(advantages, np.repeat(range(4), 4), [row for start in range(0, 16, 4) for row in ids(start)])
    taken = allocator.take()
    assert (sorted(advantages[taken.rows].abs().tolist()), taken.surplus) == ([3.0, 5.0, 5.0, 9.0], 2)


def test_further_rounds_ask_by_the_share_that_was_kept_so_far():
    """Half of the first round's 8 questions are dropped: of the second's as many will be, so 8 are asked, not 4."""
    plan, n = plan_step(0.5, 2, 4, 4), 2
    allocator = Allocator(plan, CPPOConfig(0.5, zero_variance="drop"))
    assert allocator.questions_needed() == 8
    allocator.add(torch.tensor([1.0, -1.0, 0.0, 0.0] * 4), np.repeat(range(8), n), [f"1:{row}" for row in range(16)])
    assert (allocator.questions_missing(), allocator.questions_needed()) == (4, 8)


def test_what_comes_when_the_step_is_full_is_spare():
    """All 8 of the second round could be kept, where 4 fit: the first 4 are, as if no others had been asked."""
    plan, n = plan_step(0.5, 2, 4, 4), 2
    allocator = Allocator(plan, CPPOConfig(0.5, zero_variance="drop"))
    allocator.add(torch.tensor([1.0, -1.0, 0.0, 0.0] * 4), np.repeat(range(8), n), [f"1:{row}" for row in range(16)])
    kept = allocator.add(torch.tensor([1.0, -1.0] * 8), np.repeat(range(8), n), [f"2:{row}" for row in range(16)])
    assert sorted({row // n for row in kept.tolist()}) == [0, 1, 2, 3]
    assert allocator.used == 4, "the others may be asked again"
    taken = allocator.take()
    assert (len(taken.rows), taken.mini_batch_rows, taken.surplus, allocator.questions_needed()) == (8, 8, 4, 0)


def test_a_rest_smaller_than_a_mini_batch_is_one_update():
    allocator = Allocator(plan_step(0.5, 4, 4, 4, dp_size=2), CPPOConfig(zero_variance="drop", max_gen_rounds=1))
    allocator.add(torch.tensor(FIRST + FLAT), [0] * 4 + [1] * 4, ids(0) + ids(4))
    taken = allocator.take()
    assert (taken.rows.tolist(), taken.mini_batch_rows, taken.surplus) == ([0, 3], 2, 0)


def test_a_tied_surplus_is_not_the_last_sampled():
    """Which of equally strong rows are left over is a matter of lots, by seed."""
    plan, left_over = plan_step(0.5, 2, 3, 3, dp_size=3), np.zeros(8)
    for seed in range(300):
        allocator = Allocator(plan, CPPOConfig(zero_variance="drop", max_gen_rounds=1, seed=seed))
        allocator.add(torch.tensor([1.0, -1.0] * 4), np.repeat(range(4), 2), ids(0) + ids(4))
        taken = allocator.take()
        assert (len(taken.rows), taken.surplus) == (3, 1)
        left_over[np.setdiff1d(allocator.kept, taken.rows)] += 1
    assert ((left_over - left_over.mean()) ** 2 / left_over.mean()).sum() < 36

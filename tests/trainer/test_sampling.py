"""The loop that both generations of trainers share, over rewards that are made up instead of sampled."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from verl import DataProto

from cppo_verl.algorithm.allocation import Allocation, Allocator
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.planning import plan_step
from cppo_verl.algorithm.step_plan import StepPlan
from cppo_verl.trainer.sampling import sample_and_prune

WIDTH = 3
"""Tokens of a completion."""


@st.composite
def plans(draw) -> StepPlan:
    """Any small step, allocation on or off."""
    n, questions = draw(st.sampled_from([2, 4, 8])), draw(st.integers(1, 3))
    keep = draw(st.sampled_from([k for k in (1, 2, 4, 8) if k <= n]))
    return plan_step(f"{n - keep}/{n}", n, questions, 1, allocation=draw(st.booleans()))


def options(zero_variance: str, rounds: int, **of_the_rest) -> CPPOConfig:
    return CPPOConfig(zero_variance=zero_variance, max_gen_rounds=rounds, **of_the_rest)


def completions(positions: list[int], n: int, seed: int) -> DataProto:
    """Of the questions at these positions of the step: as the trainers hand them over, flat for one in three.

    What a question's completions earn does not depend on when they are asked for.
    """
    groups = []
    for position in positions:
        rng = np.random.default_rng([seed, position])
        rewards = rng.normal(size=n) * (rng.random() > 1 / 3)
        groups.append(torch.from_numpy(rewards - rewards.mean()))
    rows = len(positions) * n
    mask = torch.ones(rows, WIDTH, dtype=torch.long)
    advantages = torch.cat(groups)[:, None] * mask
    uids = np.repeat([f"7:{position}" for position in positions], n).astype(object)
    row_ids = np.array([f"{uid}:{i % n}" for i, uid in enumerate(uids)], dtype=object)
    return DataProto.from_dict(
        {"advantages": advantages, "response_mask": mask}, non_tensors={"uid": uids, "row_id": row_ids}
    )


@dataclass
class Step:
    """A step's rows, what of them is trained on, and what was asked for and left out on the way."""

    sampled: DataProto
    taken: Allocation
    asked: list[int]
    dropped: list[str] = field(default_factory=list)
    """Row ids that `settle` was told are not kept."""

    def trained(self) -> set[str]:
        return set(self.sampled.non_tensor_batch["row_id"][self.taken.rows.numpy()])


def in_rounds(plan: StepPlan, config: CPPOConfig, seed: int, supply: int = 10**6) -> Step:
    """V0's asking: all that are wanted are asked at once, and waited for; the epoch holds `supply` questions."""
    allocator, asked = Allocator(plan, config), []

    def sample(wanted: int) -> DataProto | None:
        first = allocator.questions
        positions = list(range(first, min(first + wanted, supply)))
        asked.extend(positions)
        return completions(positions, plan.rollout_n, seed) if positions else None

    return Step(*sample_and_prune(allocator, allocator.questions_needed, sample), asked)


def as_finished(plan: StepPlan, config: CPPOConfig, seed: int, order: int) -> Step:
    """V1's asking: a step's questions first, then one for each that is left out; they are finished in any order."""
    allocator, mixed, dropped = Allocator(plan, config), random.Random(order), []
    waiting = list(range(plan.questions))
    asked = waiting.copy()

    def take(wanted: int) -> DataProto | None:
        finished = min(mixed.randint(1, wanted), len(waiting))
        mixed.shuffle(waiting)
        positions = sorted(waiting.pop() for _ in range(finished))
        return completions(positions, plan.rollout_n, seed) if positions else None

    def settle(rows: DataProto, kept: torch.Tensor) -> None:
        ids = rows.non_tensor_batch
        dropped.extend(np.delete(ids["row_id"], kept.numpy()))
        left_out = len(set(ids["uid"])) - len(kept) // plan.keep
        most = plan.questions * config.max_gen_rounds - len(asked)
        more = range(len(asked), len(asked) + min(left_out, most))
        waiting.extend(more)
        asked.extend(more)

    return Step(*sample_and_prune(allocator, allocator.questions_to_take, take, settle), asked, dropped)


def assert_rows_conserved(step: Step, plan: StepPlan) -> None:
    """What is asked is sampled, once; a question keeps k or none, but for the surplus; no more than planned is kept."""
    ids = step.sampled.non_tensor_batch
    assert sorted(ids["uid"]) == sorted(f"7:{position}" for position in step.asked for _ in range(plan.rollout_n))
    assert len(set(ids["row_id"])) == len(ids["row_id"])
    kept = [uid for uid, _, _ in (row.rpartition(":") for row in step.trained())]
    counts = [kept.count(uid) for uid in set(kept)]
    assert all(count <= plan.keep for count in counts)
    assert len(kept) <= plan.rows
    if not step.taken.surplus:
        assert set(counts) <= {plan.keep}


@given(plans(), st.integers(0, 99), st.integers(0, 40))
def test_rounds_conserve_rows_and_stop_where_the_data_end(plan, seed, supply):
    supply = max(supply, plan.questions)  # verl begins no step with fewer
    step = in_rounds(plan, options("drop", 4), seed, supply)
    assert_rows_conserved(step, plan)
    assert len(step.asked) <= supply
    if len(step.taken.rows) == plan.rows:
        assert all(step.sampled.batch["advantages"][step.taken.rows].abs().sum(dim=1) > 0)


@given(plans(), st.integers(0, 99), st.integers(0, 99))
def test_questions_taken_as_they_are_finished_conserve_rows(plan, seed, order):
    step = as_finished(plan, options("drop", 3), seed, order)
    assert_rows_conserved(step, plan)
    assert len(step.asked) <= 3 * plan.questions
    surplus = step.taken.surplus
    assert len(step.dropped) + len(step.taken.rows) + surplus == len(step.sampled), "each row is settled once"
    assert not step.trained() & set(step.dropped)


@pytest.mark.parametrize("zero_variance", ["keep", "drop"])
@given(plans(), st.integers(0, 99), st.integers(0, 99))
def test_both_ways_of_asking_train_on_the_same_rows(zero_variance, plan, seed, order):
    """Where rounds do not run out: V0's are counted, V1's are questions."""
    config = options(zero_variance, 60)
    rounds, finished = in_rounds(plan, config, seed), as_finished(plan, config, seed, order)
    assert rounds.trained() == finished.trained()
    assert set(rounds.asked) >= set(finished.asked), "V0 asks for as many more as will be dropped, it expects"
    assert rounds.taken.mini_batch_rows == finished.taken.mini_batch_rows
    assert len(rounds.taken.rows) == plan.rows


def test_completions_without_advantages_are_all_kept_where_nothing_is_pruned():
    """With a critic they come after its values."""
    plan = plan_step(0, 4, 2, 1, allocation=False)
    allocator = Allocator(plan, CPPOConfig(allocation=False))

    def sample(wanted: int) -> DataProto:
        rows = completions(list(range(wanted)), plan.rollout_n, 0)
        rows.batch.pop("advantages")
        return rows

    sampled, taken = sample_and_prune(allocator, allocator.questions_needed, sample)
    assert taken.rows.tolist() == list(range(len(sampled))) == list(range(8))


def test_only_the_pruning_is_timed():
    entered: list[str] = []

    @contextmanager
    def timed():
        entered.append("in")
        yield
        entered.append("out")

    def noting(name: str, then: Callable) -> Callable:
        return lambda *args: (entered.append(name), then(*args))[1]

    plan = plan_step(0.5, 4, 1, 1, allocation=False)
    allocator = Allocator(plan, CPPOConfig(0.5, allocation=False))
    sample = noting("sample", lambda wanted: completions(list(range(wanted)), plan.rollout_n, 1))
    settle = noting("settle", lambda rows, kept: None)
    sample_and_prune(allocator, allocator.questions_needed, sample, settle, timed)
    assert entered == ["sample", "in", "out", "settle", "in", "out"]

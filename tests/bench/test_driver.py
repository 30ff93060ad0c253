"""The driver's benchmark, on a step of a few rows: its stages are the trainer's own."""

import pytest

from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.step_plan import StepPlan
from cppo_verl.bench import driver
from cppo_verl.trainer.rows import row_advantages
from cppo_verl.trainer.stages import outcome_advantages

ROWS, KEEP, RANKS = 64, 4, 2


@pytest.fixture
def batch():
    return driver.sampled_batch(ROWS, prompt=12, response=16)


@pytest.mark.parametrize("rate", ["0", "0.75"])
def test_every_stage_runs(batch, rate):
    times = driver.stages(rate, batch, RANKS, repeat=1)
    assert {"ask", "receive", "join rounds", "take back, 2 times", "metrics"} < times.keys()
    assert all(milliseconds > 0 for milliseconds in times.values())


def test_rows_are_gathered_over_the_ranks(batch):
    scored = outcome_advantages(batch, driver.CONFIG)
    plan = StepPlan(driver.GROUP, KEEP, ROWS // driver.GROUP, ROWS // 4, ROWS // 4, RANKS)
    allocator, ids = driver.Allocator(plan, CPPOConfig("0.75")), scored.non_tensor_batch
    allocator.add(row_advantages(scored), ids["uid"], ids["row_id"])
    allocation = allocator.take()
    trained = driver.gather(scored, allocation, plan)
    assert sorted(trained.non_tensor_batch["row_id"]) == sorted(ids["row_id"][allocation.rows.numpy()])
    assert trained.meta_info["mini_batch_rows"] == ROWS // 4


def test_each_question_is_asked_once_with_a_seed_of_its_own():
    given = driver.requests(3)
    assert len(given) == 3 == len(set(given.non_tensor_batch[driver.SEED_KEY]))

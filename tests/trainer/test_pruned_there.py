"""Questions that are pruned where they are sampled: what is trained on and what is logged is as if all completions had
been sent, and only what is kept is sent."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from made_up_steps import MadeUpStep, v0_step, v1_step
from scored_outputs import MANY, G, drawn_rewards
from stand_in_queue import StandInQueue

from cppo_verl.algorithm.options import CPPOConfig, Metric
from cppo_verl.algorithm.rule import PruningRule
from cppo_verl.preflight.plan import plan_from_config
from cppo_verl.trainer.group.pruned import READS_ALL, rule_where_sampled, tagged
from cppo_verl.trainer.group.scored import SCORED
from cppo_verl.trainer.progress import ReportsProgress
from cppo_verl.trainer.rows import check_sent
from cppo_verl.trainer.v1.putting import UNSCORED_READ
from cppo_verl.trainer.v1.queue import RULE
from cppo_verl.trainer.v1.trainers import CPPOSync

OVERRIDES = (
    *("recipe=toy", "device=cpu", "trainer.use_v1=true", "data.train_batch_size=4", f"actor_rollout_ref.rollout.n={G}"),
    *("actor_rollout_ref.actor.ppo_mini_batch_size=2", "trainer.v1.sampler.sampler_kwargs.poll_interval=0"),
    *("trainer.balance_batch=false", "cppo.max_gen_rounds=2"),
)
HALF_RIGHT = [[0.0, 1.0, 0.0, 1.0]] * MANY


@pytest.fixture(scope="module")
def config(compose_config):
    """The config of runs, of which V0 and V1 here read the same."""
    return cache(lambda *overrides: compose_config(*OVERRIDES, *overrides))


def options() -> Iterator[list[str]]:
    for metric in get_args(Metric):
        for rate, zero_variance in (("0.5", "keep"), ("0.75", "drop")):
            yield [f"cppo.metric={metric}", f"cppo.pruning_rate={rate}", f"cppo.zero_variance={zero_variance}"]
    yield ["cppo.pruning_rate=0", "cppo.zero_variance=drop"]
    yield ["cppo.pruning_rate=0", "cppo.allocation=false"]
    for estimator in ("rloo", "opo", "grpo_vectorized"):
        yield ["cppo.pruning_rate=0.5", f"algorithm.adv_estimator={estimator}"]


@pytest.mark.parametrize("chosen", list(options()), ids=" ".join)
@given(seed=st.integers(0, 999), order=st.integers(0, 9))
@settings(max_examples=3, phases=(Phase.explicit, Phase.generate))
def test_the_same_is_trained_on_and_logged(config, chosen, seed, order):
    c, rewards = config(*chosen), drawn_rewards(seed)
    v0, v0_before = v0_step(c, rewards, sends_all=False), v0_step(c, rewards, sends_all=True)
    v1, v1_before = v1_step(c, rewards, False, order), v1_step(c, rewards, True, order)
    assert_same(v0, v0_before)
    assert_same(v1, v1_before)
    assert set(v1.queue.rows) == set(v1_before.queue.rows), "what is trained on is all that stays in the queue"
    if "cppo.zero_variance=drop" not in chosen:  # there V1's rounds are counted in questions
        assert v0.trained.keys() == v1.trained.keys()


def assert_same(there: MadeUpStep, before: MadeUpStep) -> None:
    """A step whose questions were pruned where they were sampled, and one with all completions in the trainer."""
    assert there.asked == before.asked
    assert there.trained.keys() == before.trained.keys()
    for name, row in before.trained.items():
        assert row.keys() - there.trained[name].keys() <= UNSCORED_READ, "what the question's tag tells"
        assert all(same(row[column], value) for column, value in there.trained[name].items()), name
    assert there.allocation.surplus == before.allocation.surplus
    by_name = dict(zip(before.sampled.non_tensor_batch["row_id"], range(len(before.sampled)), strict=True))
    places = [by_name[name] for name in there.sampled.non_tensor_batch["row_id"]]
    for column, tensor in there.sampled.batch.items():
        if column not in ("prompts", "responses"):
            assert torch.equal(tensor, before.sampled.batch[column][places]), column
    sent, all_sent = (of.metrics.pop("cppo/bytes_sent") for of in (there, before))
    assert sent <= all_sent
    assert there.metrics == pytest.approx(before.metrics, abs=1e-6, nan_ok=True)  # sums in another order


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return getattr(one, "data", one) == getattr(other, "data", other)


def test_v1_puts_what_is_kept_once_for_each_question(config):
    found = v1_step(config("cppo.pruning_rate=0.75"), HALF_RIGHT, sends_all=False)
    assert [len(keys) for keys in found.queue.puts[: found.asked]] == [1] * found.asked
    assert found.metrics["cppo/completions_sampled"] == G * found.asked


def test_v0_is_sent_k_of_g_bytes(config):
    c = config("cppo.pruning_rate=0.75")
    there, before = v0_step(c, HALF_RIGHT, sends_all=False), v0_step(c, HALF_RIGHT, sends_all=True)
    assert there.metrics["cppo/bytes_sent"] == before.metrics["cppo/bytes_sent"] / G


def test_of_a_dropped_question_nothing_is_sent(config):
    c, flat = config("cppo.pruning_rate=0.5", "cppo.zero_variance=drop"), [[1.0] * G] * MANY
    found = v1_step(c, flat, sends_all=False)
    assert not found.queue.puts and not found.queue.rows and not len(found.allocation.rows)
    assert found.metrics["cppo/bytes_sent"] == 0 and found.metrics["cppo/sampled/reward"] == 1.0
    found = v0_step(c, flat, sends_all=False, loops=1)
    assert not found.trained and found.metrics["cppo/sampled/reward"] == 1.0


def test_a_reward_that_is_not_finite_ends_the_run_as_before(config):
    c, broken = config("cppo.pruning_rate=0.5"), [[0.0, float("nan"), 0.0, 1.0]] * MANY
    for step in (v0_step, v1_step):
        for sends_all in (True, False):
            with pytest.raises(ValueError, match="advantages are not finite"):
                step(c, broken, sends_all)


def test_a_row_that_was_not_sent_is_not_trained_on():
    rows = SimpleNamespace(non_tensor_batch={"row_id": ["1:0:0", "1:0:3"]})
    check_sent(rows, ["a", "b"])
    with pytest.raises(RuntimeError, match="completion 1:0:3 is to be trained on, and was pruned"):
        check_sent(rows, ["a", None])


@pytest.mark.parametrize(
    ("overrides", "left"),
    [
        (["cppo.pruning_rate=0.5"], ["1:0", "1:0_1_0", "1:1"]),
        (["cppo.pruning_rate=0.75"], ["1:0", "1:1"]),
        (["cppo.pruning_rate=0.5", "algorithm.adv_estimator=opo"], ["1:0", "1:1"]),
        (["cppo.pruning_rate=0.75", "actor_rollout_ref.rollout.n=8"], ["1:0", "1:1"]),
        (["cppo.pruning_rate=0.5", "trainer.rollout_data_dir=some/path"], ["1:0", "1:1"]),
    ],
)
def test_a_resumed_run_asks_anew_what_was_pruned_by_another_rule(config, monkeypatch, overrides, left):
    """Of what its checkpoint holds: a question that was pruned, one that is being sampled, and rows that were trained
    on."""
    trainer, queue = object.__new__(CPPOSync), StandInQueue(monkeypatch)
    monkeypatch.setattr(ReportsProgress, "_load_checkpoint", lambda self: None)
    trainer.config, trainer._restored_tq_prompt_count = config(*overrides), 2
    trainer.cppo, trainer.plan = CPPOConfig.from_mapping(trainer.config.cppo), plan_from_config(trainer.config)
    finished = {"is_prompt": True, "status": "finished", SCORED: {"uid": "1:0"}}
    finished[RULE] = tagged(PruningRule(G // 2), config("cppo.pruning_rate=0.5"))
    queue.tags |= {"1:0": finished, "1:0_1_0": {}, "1:1": {"is_prompt": True, "status": "running"}, "0:9_0_0": {}}
    trainer._load_checkpoint()
    assert sorted(queue.tags) == left
    assert trainer._restored_tq_prompt_count == 2, "none is lost"
    is_taken = "1:0_1_0" in left
    assert queue.tags["1:0"]["status"] == ("finished" if is_taken else "pending")
    assert bool(queue.tags["1:0"][SCORED]) == is_taken


@pytest.mark.parametrize("option", READS_ALL)
def test_all_are_sent_to_what_reads_all(compose_config, option):
    value = "true" if option.endswith("enable") else "some/path"
    assert rule_of(compose_config(*OVERRIDES, "cppo.pruning_rate=0.5")) == PruningRule(G // 2)
    assert rule_of(compose_config(*OVERRIDES, "cppo.pruning_rate=0.5", f"++{option}={value}")) is None


def test_all_are_sent_where_they_compete(config):
    assert rule_of(config("cppo.pruning_rate=0.5", "cppo.scope=batch")) is None


def test_grpos_rule_keeps_all(config):
    assert rule_of(config("cppo.pruning_rate=0")) == PruningRule(G)


def rule_of(config) -> PruningRule | None:
    return rule_where_sampled(config, CPPOConfig.from_mapping(config.cppo), plan_from_config(config))

"""A V1 step's sampling, on a real TransferQueue: what is taken, pruned, deleted and asked for, in whatever order
questions are finished."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import ray
import torch
import transfer_queue as tq
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from transfer_queue import KVBatchMeta
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from cppo_verl.algorithm.allocation import Allocator
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.preflight.plan import plan_from_config
from cppo_verl.trainer.rows import PICTURES, row_advantages
from cppo_verl.trainer.v1.asking import SamplingFailed
from cppo_verl.trainer.v1.cycle import RunningStep
from cppo_verl.trainer.v1.queue import ERROR, TRAIN, VALIDATION, Taken
from cppo_verl.trainer.v1.rows import FORWARDS_READ, UPDATES_READ, nothing_to_delete
from cppo_verl.trainer.v1.trainers import CPPOColocateAsync, CPPOSync, CPPOTrainer

G = 4
FAILED = "ValueError: no tokens"
OVERRIDES = (
    *("recipe=toy", "device=cpu", "trainer.use_v1=true", "data.train_batch_size=4", "actor_rollout_ref.rollout.n=4"),
    *("actor_rollout_ref.actor.ppo_mini_batch_size=2", "trainer.v1.sampler.sampler_kwargs.poll_interval=0.005"),
)


@pytest.fixture(scope="module")
def config(compose_config):
    """The config of V1 runs."""
    return lambda *overrides: compose_config(*OVERRIDES, *overrides)


@pytest.fixture(scope="module", autouse=True)
def queue(compose_config, tmp_path_factory) -> Iterator[None]:
    """A TransferQueue on a Ray of its own."""
    ray.init(address="local", num_cpus=4, include_dashboard=False, logging_level="error")
    config = compose_config(*OVERRIDES).transfer_queue
    OmegaConf.resolve(config)
    tq.init(config)
    yield
    tq.close()
    ray.shutdown()


class Sampler:
    """Stands for agent loops and engine: finishes what it is asked for, in another order, in a thread of its own.

    Args:
        rewards: Of question 0, 1, ... as they are asked: G numbers, or why the sampling fails.
        order: Seed of the order in which questions are finished.
    """

    def __init__(self, rewards: list[list[float] | str], order: int):
        self.rewards, self.random, self.asked = rewards, random.Random(order), 0
        self.unfinished: list[tuple[str, list[float] | str]] = []
        self.ends = False
        self.thread = threading.Thread(target=self._finish, daemon=True)
        self.thread.start()

    def generate_sequences(self, batch) -> None:
        for uid in list(batch["uid"]):
            self.unfinished.append((uid, self.rewards[self.asked]))
            self.asked += 1

    def _finish(self) -> None:
        while not self.ends:
            if self.unfinished:
                place = self.random.randrange(len(self.unfinished))
                finish(*self.unfinished.pop(place))
            time.sleep(0.001)

    def end(self) -> None:
        self.ends = True
        self.thread.join()


def finish(uid: str, rewards: list[float] | str) -> None:
    """What verl's agent loop puts into the queue for a question."""
    if isinstance(rewards, str):
        tq.kv_put(key=uid, partition_id=TRAIN, tag={ERROR: rewards})
        tq.kv_put(key=uid, partition_id=TRAIN, tag={"status": "failure"})
        return
    lengths = [1 + int(10 * reward) % 5 for reward in rewards]
    fields = [
        {
            "response_mask": torch.ones(length, dtype=torch.long),
            "rm_scores": torch.tensor([0.0] * (length - 1) + [reward]),
            "extra_fields": {"reward_extra_info": {"acc": float(reward > 0.5)}},
        }
        for reward, length in zip(rewards, lengths, strict=True)
    ]
    tags = [{"prompt_len": 3, "response_len": n, "seq_len": 3 + n, "global_steps": 1} for n in lengths]
    keys = [f"{uid}_{sample}_0" for sample in range(len(rewards))]
    tq.kv_batch_put(keys=keys, fields=list_of_dict_to_tensordict(fields), tags=tags, partition_id=TRAIN)
    tq.kv_put(key=uid, partition_id=TRAIN, tag={"status": "finished"})


class Questions:
    """Stands for the data."""

    fetched = 0

    def draw(self, count: int) -> list[dict]:
        return [{"raw_prompt": np.array(["?"], dtype=object), "index": torch.zeros(1)} for _ in range(count)]

    def prefetch(self) -> None:
        self.fetched += 1


def trainer_of(config, sampler: Sampler, steps: int = 10, kind: type[CPPOTrainer] = CPPOSync) -> CPPOTrainer:
    """A trainer at its first step of so many, as far as sampling needs one."""
    trainer = object.__new__(kind)
    trainer.config, trainer.cppo = config, CPPOConfig.from_mapping(config.cppo)
    trainer.plan = trainer.cycle_plan = plan_from_config(config)
    trainer.trainer_mode = config.trainer.v1.trainer_mode
    trainer.global_steps, trainer.total_training_steps = 1, steps
    trainer.train_dataloader, trainer.agent_loop_manager, trainer._restored_tq_prompt_count = Questions(), sampler, 0
    trainer.replay_buffer = trainer._build_replay_buffer()
    trainer.this_step, trainer.timing_raw = RunningStep({}), {}
    return trainer


def sampled_step(config, rewards: list[list[float] | str], order: int):
    """Trainer, sampler, rows, allocation and metrics of a step; the queue is emptied after it."""
    sampler = Sampler(rewards, order)
    trainer = trainer_of(config, sampler)
    metrics: dict[str, float] = {}
    try:
        trainer.prepare_step()
        rows, allocation = trainer._sample_and_prune(metrics)
        metrics["replaced"] = trainer.this_step.asked_instead
        metrics["in flight"], metrics["unused"] = trainer.replay_buffer.outstanding()
        left = held(TRAIN)
    finally:
        sampler.end()
        empty(TRAIN)
    return sampler, rows, allocation, metrics, left


def held(part: str) -> set[str]:
    """The keys in a part of the queue."""
    return set((tq.kv_list(part) or {}).get(part, {}))


def empty(part: str) -> None:
    if keys := held(part):
        tq.kv_clear(keys=list(keys), partition_id=part)


def chosen_by_rounds(config, rewards: list[list[float]]) -> tuple[set[str], int]:
    """Row ids that the V0 trainer would train on, and how many questions it would ask."""
    allocator, asked, ids = Allocator(plan_from_config(config), CPPOConfig.from_mapping(config.cppo)), 0, []
    while wanted := allocator.questions_needed():
        scores = torch.tensor(rewards[asked : asked + wanted])
        groups = [f"1:{asked + i}" for i in range(wanted) for _ in range(G)]
        advantages = (scores - scores.mean(1, keepdim=True)) / (scores.std(1, keepdim=True) + 1e-6)
        row_ids = [f"{group}:{i % G}" for i, group in enumerate(groups)]
        allocator.add(advantages.flatten(), groups, row_ids)
        ids += row_ids
        asked += wanted
    return {ids[i] for i in allocator.take().rows}, asked


MANY = 64
REWARDS = st.lists(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=G, max_size=G), min_size=MANY, max_size=MANY
)


@pytest.mark.parametrize("zero_variance", ["keep", "drop"])
@given(rewards=REWARDS, order=st.integers(0, 99))
@settings(
    max_examples=8,
    phases=(Phase.explicit, Phase.generate),  # shrinking takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_rows_are_those_of_v0_in_whatever_order_questions_finish(config, zero_variance, rewards, order):
    """And the rows that are trained on are all that stays in the queue."""
    c = config("cppo.pruning_rate=0.5", f"cppo.zero_variance={zero_variance}", "cppo.max_gen_rounds=7")
    expected, asked = chosen_by_rounds(c, rewards)
    sampler, rows, allocation, metrics, left = sampled_step(c, rewards, order)
    ids = rows.non_tensor_batch
    assert set(ids["row_id"][allocation.rows]) == expected
    assert left == set(ids["key"][allocation.rows])
    assert sampler.asked == len(set(ids["uid"])) <= asked, (
        "nothing is sampled that no step uses; V0's rounds may overshoot"
    )
    assert metrics["replaced"] == sampler.asked - plan_from_config(c).questions
    assert metrics["in flight"] == metrics["unused"] == 0


def test_pooled_pruning_waits_for_all_questions(config):
    c = config("cppo.pruning_rate=0.5", "cppo.scope=batch")
    rewards = [[0.0, 0.0, 0.0, 1.0]] * 4 + [[0.0, 1.0, 0.0, 1.0]] * 3 + [[1.0] * G]
    expected, _ = chosen_by_rounds(c, rewards)
    sampler, rows, allocation, _, left = sampled_step(c, rewards, 3)
    assert set(rows.non_tensor_batch["row_id"][allocation.rows]) == expected
    assert len(left) == 16 and sampler.asked == 8, "nothing is asked in place of a question that the pool left out"


def test_rounds_are_limited(config):
    """All questions are solved: after twice a step's questions the step ends, with nothing to train on."""
    c = config("cppo.pruning_rate=0.5", "cppo.zero_variance=drop", "cppo.max_gen_rounds=2")
    sampler, rows, allocation, _, left = sampled_step(c, [[1.0] * G] * MANY, 0)
    assert sampler.asked == 16 and len(rows) == 64 and not len(allocation.rows) and not left
    batch = nothing_to_delete()
    tq.kv_clear(keys=batch.keys, partition_id=TRAIN)  # what verl does at the end of such a step


def test_a_question_that_failed_is_replaced_and_counted(config):
    c = config("cppo.pruning_rate=0.5")
    rewards = [FAILED, *[[0.0, 1.0, 0.0, 1.0]] * MANY]
    sampler, rows, _, metrics, _ = sampled_step(c, rewards, 0)
    assert sampler.asked == 9 and "1:0" not in set(rows.non_tensor_batch["uid"])
    assert metrics["training/rollout_failure/evicted_samples"] == metrics["replaced"] == 1


def test_where_most_questions_fail_the_run_ends_and_says_why(config):
    with pytest.raises(SamplingFailed, match="takes 8; the last one: ValueError: no tokens"):
        sampled_step(config("cppo.pruning_rate=0.5"), [FAILED] * MANY, 0)


def test_where_a_reward_hangs_the_run_ends_at_once(config):
    with pytest.raises(SamplingFailed, match=r"of 1 questions failed in step 1.*RewardHung: no reward"):
        sampled_step(config("cppo.pruning_rate=0.5"), [[0.0] * G, "RewardHung: no reward", *[[1.0] * G] * MANY], 0)


def test_a_validation_with_a_failed_question_ends_the_run(config):
    """verl would score it 0."""
    sampler = Sampler([], 0)
    trainer = trainer_of(config("cppo.pruning_rate=0.5"), sampler)
    sampler.end()
    tq.kv_put(key="v", partition_id=VALIDATION, tag={"is_prompt": True, "status": "failure", "global_steps": 1})
    tq.kv_put(key="v", partition_id=VALIDATION, tag={ERROR: FAILED})
    try:
        with pytest.raises(SamplingFailed, match="of 1 validation questions failed; the last one: ValueError: no"):
            trainer.replay_buffer.sample(1, VALIDATION, 1)
    finally:
        empty(VALIDATION)


def test_the_wait_for_questions_is_timed_and_the_next_ones_are_fetched(config):
    sampler = Sampler([[0.0, 1.0, 0.0, 1.0]] * MANY, 0)
    trainer = trainer_of(config("cppo.pruning_rate=0.5"), sampler)
    try:
        trainer.prepare_step()
    finally:
        sampler.end()
        empty(TRAIN)
    assert trainer.timing_raw.keys() == {"draw"} and trainer.train_dataloader.fetched == 1


@pytest.mark.parametrize("steps, asked", [(10, [8, 8, 8]), (3, [8, 8, 8]), (2, [8, 8, 0]), (1, [8, 0, 0])])
def test_a_prefetch_asks_no_question_that_no_step_would_take(config, steps, asked):
    """A step takes 8; a prefetch of one step, and what two further steps would ask before any is taken."""
    sampler = Sampler([[0.0, 1.0, 0.0, 1.0]] * MANY, 0)
    trainer, found = trainer_of(config("cppo.pruning_rate=0.5"), sampler, steps), []
    try:
        trainer._add_async_warmup_batches(1)
        found.append(sampler.asked)
        for _ in range(2):
            trainer.prepare_step()
            found.append(sampler.asked - sum(found))
    finally:
        sampler.end()
        empty(TRAIN)
    assert found == asked


def test_questions_that_are_too_old_are_dropped_and_others_asked(config):
    """Asked in step 1 and not taken before step 3, where two steps are allowed."""
    trainer, sampler = asynchronous(config, "drop")
    metrics: dict[str, float] = {}
    try:
        trainer.prepare_step()
        trainer.global_steps = 3
        taken = trainer.replay_buffer.take(3, wanted=8, at_least=8, metrics=metrics)
    finally:
        sampler.end()
        empty(TRAIN)
    assert {key.partition("_")[0] for key in taken.completions.keys} == {f"3:{i}" for i in range(8)}
    assert sampler.asked == 16 and metrics["training/off_policy/evicted_samples"] == 8
    assert trainer.this_step.asked_instead == 8


@pytest.mark.parametrize("strategy, waits", [("wait", True), ("drop", False)])
def test_a_question_that_would_get_too_old_is_waited_for(strategy, waits, config):
    """In step 2, the last in which it may be trained on, one of step 1 is still being sampled."""
    trainer, sampler = asynchronous(config, strategy)
    sampler.end()
    last, now = [], time.monotonic()
    try:
        trainer.prepare_step()
        *others, (late, _) = sampler.unfinished
        for uid, rewards in others:
            finish(uid, rewards)
        timer = threading.Timer(1, lambda: (last.append(late), finish(late, [0.0, 1.0, 0.0, 1.0])))
        timer.start()
        trainer.replay_buffer.take(2, wanted=4, at_least=4, metrics={})
        assert bool(last) == waits, f"after {time.monotonic() - now:.1f} s"
    finally:
        timer.join()
        empty(TRAIN)


def asynchronous(config, strategy: str) -> tuple[CPPOColocateAsync, Sampler]:
    """A trainer that may train on questions of the last step, and what finishes them."""
    sampler = Sampler([[0.0, 1.0, 0.0, 1.0]] * MANY, 0)
    limits = "trainer.v1.sampler.max_off_policy_threshold=2", f"trainer.v1.sampler.max_off_policy_strategy={strategy}"
    mode = "trainer.v1.trainer_mode=cppo_colocate_async"
    return trainer_of(config("cppo.pruning_rate=0.5", mode, *limits), sampler, kind=CPPOColocateAsync), sampler


def test_several_outputs_for_a_completion_are_refused(config):
    sampler = Sampler([], 0)
    trainer = trainer_of(config("cppo.pruning_rate=0.5"), sampler)
    sampler.end()
    with pytest.raises(ValueError, match="several outputs for one completion of question 1:0"):
        completions = tq.KVBatchMeta(partition_id=TRAIN, keys=["1:0_0_0", "1:0_0_1"], tags=[{}, {}])
        trainer._advantages(Taken(completions, {}, ["1:0"]))


def test_another_number_of_completions_than_g_is_refused(config):
    """As from a loop that returns nothing for one of them."""
    with pytest.raises(ValueError, match=r"has 3 completions, not G = 4"):
        sampled_step(config("cppo.pruning_rate=0.5"), [[0.0, 1.0, 0.5]] * MANY, 0)


def test_advantages_do_not_depend_on_padding(config):
    c = config("cppo.pruning_rate=0.5")
    _, rows, _, _, _ = sampled_step(c, [[0.0, 1.0, 0.0, 1.0]] * MANY, 0)
    assert rows.batch["responses"].shape[1] == c.data.max_response_length
    assert torch.equal(row_advantages(rows).abs(), row_advantages(rows).abs()[:1].expand(len(rows)))


def test_workers_fetch_the_columns_that_they_read(config):
    """And pictures, where the model has a processor; forwards no advantages, and nothing reads what the data bring."""
    rows = [{"input_ids": torch.ones(2), "advantages": torch.ones(2), "extra_info": {}, PICTURES: {}}] * 2
    keys = ["9:0_0_0", "9:0_1_0"]
    tq.kv_batch_put(keys=keys, fields=list_of_dict_to_tensordict(rows), tags=[{}] * 2, partition_id=TRAIN)
    batch = KVBatchMeta(partition_id=TRAIN, keys=keys, tags=[{}] * 2)
    trainer = object.__new__(CPPOSync)
    for processor, further in ((None, set()), ("some", {PICTURES})):
        trainer.processor = processor
        assert set(trainer._columns(batch, FORWARDS_READ)) == {"input_ids"} | further
        assert set(trainer._columns(batch, UPDATES_READ)) == {"input_ids", "advantages"} | further
    tq.kv_clear(keys=keys, partition_id=TRAIN)

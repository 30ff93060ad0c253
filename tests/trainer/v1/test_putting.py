"""Questions' completions into the queue: together where they come together, and with the columns that are read."""

from __future__ import annotations

import asyncio

import pytest
import torch
import transfer_queue as tq
from scored_outputs import G, scored_outputs

from cppo_verl.trainer.v1.putting import Completions, Putter, columns_read, completions_of
from cppo_verl.trainer.v1.rows import FORWARDS_READ


class Queue:
    """Stands for the real one's client: a put lasts until it is let go on."""

    def __init__(self, monkeypatch):
        self.puts: list[list[str]] = []
        self.columns: dict[str, set[str]] = {}
        self.may_end = asyncio.Event()
        self.refuses: str | None = None
        """A key that it does not take."""
        monkeypatch.setattr(tq, "async_kv_batch_put", self._put)

    async def _put(self, keys, fields, tags, partition_id) -> None:
        assert len(keys) == len(fields) == len(tags)
        self.puts.append(keys)
        self.columns |= {key.split("_")[0]: set(fields.keys()) for key in keys}
        await self.may_end.wait()
        if self.refuses in keys:
            raise OSError("no room")


def of(uid: str, number: int = 2, *further: str) -> Completions:
    row = dict.fromkeys(("prompts", *further), torch.ones(1))
    return Completions([f"{uid}_{i}_0" for i in range(number)], [row] * number, [{}] * number)


def test_questions_that_come_during_a_put_go_together_in_the_next(monkeypatch):
    async def run():
        queue, putter = Queue(monkeypatch), Putter()
        tasks = [asyncio.create_task(putter.put(of("1:0")))]
        await asyncio.sleep(0.01)
        tasks += [asyncio.create_task(putter.put(of(f"1:{i}"))) for i in (1, 2, 3)]
        await asyncio.sleep(0.01)
        assert queue.puts == [of("1:0").keys]
        assert not any(task.done() for task in tasks)
        queue.may_end.set()
        await asyncio.gather(*tasks)
        assert queue.puts == [of("1:0").keys, [key for i in (1, 2, 3) for key in of(f"1:{i}").keys]]

    asyncio.run(run())


def test_a_question_that_cannot_be_put_fails_alone(monkeypatch):
    async def run():
        queue, putter = Queue(monkeypatch), Putter()
        queue.refuses = of("1:1").keys[0]
        queue.may_end.set()
        ended = await asyncio.gather(*(putter.put(of(f"1:{i}")) for i in range(3)), return_exceptions=True)
        assert [error and str(error) for error in ended] == [None, "no room", None]
        assert queue.puts[1:] == [of(f"1:{i}").keys for i in range(3)], "each by itself after all at once"

    asyncio.run(run())


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_questions_of_other_columns_are_put_apart(monkeypatch, order):
    """As after a resume, where those that were being sampled are asked without a rule."""
    questions = of("1:0"), of("1:1", 2, "extra_fields"), of("1:2")

    async def run():
        queue, putter = Queue(monkeypatch), Putter()
        queue.may_end.set()
        await asyncio.gather(*(putter.put(questions[i]) for i in order))
        assert sorted(map(sorted, queue.puts)) == [sorted(of("1:0").keys + of("1:2").keys), of("1:1").keys]
        assert queue.columns == {"1:0": {"prompts"}, "1:1": {"prompts", "extra_fields"}, "1:2": {"prompts"}}

    asyncio.run(run())


def test_a_question_that_is_given_up_does_not_take_others_with_it(monkeypatch):
    async def run():
        queue, putter = Queue(monkeypatch), Putter()
        first, second = (asyncio.create_task(putter.put(of(f"1:{i}"))) for i in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        queue.may_end.set()
        await second
        assert len(queue.puts) == 1

    asyncio.run(run())


def test_a_question_of_which_nothing_is_kept_puts_nothing(monkeypatch):
    async def run():
        queue = Queue(monkeypatch)
        await Putter().put(of("1:0", 0))
        assert not queue.puts

    asyncio.run(run())


@pytest.mark.parametrize(("is_pruned", "further"), [(True, set()), (False, {"extra_fields", "reward_model"})])
def test_columns_that_nothing_reads_are_not_put(is_pruned, further):
    read = columns_read(is_pruned)
    question = {"uid": "1:0", "global_steps": 1, "reward_model": {}, "raw_prompt": "?", "extra_info": {}}
    put = completions_of(question, dict(enumerate(scored_outputs([1.0] * G))), read)
    tokens = FORWARDS_READ - {"routed_experts"} | {"rollout_log_probs"}
    assert len(put.keys) == len(put.tags) == len(put.rows) == G
    for row in put.rows:
        assert row.keys() == tokens | {"rm_scores", "num_turns"} | further
        assert row["input_ids"].tolist() == [*row["prompts"].tolist(), *row["responses"].tolist()]
        assert row["position_ids"].tolist() == list(range(len(row["input_ids"])))

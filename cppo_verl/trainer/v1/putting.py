"""A question's completions into verl's TransferQueue."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from itertools import chain
from typing import Any, NamedTuple

import torch
import transfer_queue as tq
from verl.experimental.agent_loop import AgentLoopOutput
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from cppo_verl.trainer.v1.queue import BYTES, TRAIN, completion_key
from cppo_verl.trainer.v1.rows import UPDATES_READ

METRICS_READ = frozenset(("rm_scores", "num_turns"))
"""Columns that verl 0.9.1's metrics of a step read, besides those of the updates."""
UNSCORED_READ = frozenset(("extra_fields", "reward_model"))
"""Columns that `read_scored` and `read_texts` read of questions that were not pruned where they were sampled."""


class Completions(NamedTuple):
    """A question's, as rows of the queue."""

    keys: list[str]
    rows: list[dict[str, Any]]
    tags: list[dict[str, Any]]


class Putter:
    """Puts questions into the queue; those that come while a put is under way go together in the next.

    A put costs by the call and by the column, and the questions of a batch are finished at nearly the same time.
    """

    def __init__(self):
        self._waiting: list[tuple[Completions, asyncio.Future[None]]] = []
        self._next: asyncio.Task[None] | None = None
        """What will put those that wait."""
        self._turn = asyncio.Lock()

    async def put(self, completions: Completions) -> None:
        """Put a question's, and return when they are there.

        Raises:
            Exception: They could not be put, not by themselves either.
        """
        if not completions.keys:
            return  # the queue takes no empty batch
        is_there = asyncio.get_running_loop().create_future()
        self._waiting.append((completions, is_there))
        if self._next is None:
            self._next = asyncio.ensure_future(self._put_waiting())
        await is_there

    async def _put_waiting(self) -> None:
        async with self._turn:
            waiting, self._waiting, self._next = self._waiting, [], None
            # After a resume some were asked to be pruned, and some were not: these have other columns.
            by_columns: dict[frozenset[str], list[tuple[Completions, asyncio.Future[None]]]] = {}
            for completions, is_there in waiting:
                by_columns.setdefault(frozenset(completions.rows[0]), []).append((completions, is_there))
            for together in by_columns.values():
                ended = await _put_each([completions for completions, _ in together])
                for (_, is_there), error in zip(together, ended, strict=True):
                    if is_there.done():
                        continue  # given up meanwhile
                    if error is None:
                        is_there.set_result(None)
                    else:
                        is_there.set_exception(error)


async def _put_each(questions: list[Completions]) -> list[BaseException | None]:
    """Put questions of the same columns together, and where that fails each by itself; returns what failed of each."""
    (failed,) = await asyncio.gather(_put(questions), return_exceptions=True)
    if failed is None or len(questions) == 1:
        return [failed] * len(questions)
    return await asyncio.gather(*(_put([question]) for question in questions), return_exceptions=True)


async def _put(questions: list[Completions]) -> None:
    keys, rows, tags = (list(chain.from_iterable(part)) for part in zip(*questions, strict=True))
    await tq.async_kv_batch_put(keys=keys, fields=list_of_dict_to_tensordict(rows), tags=tags, partition_id=TRAIN)


def columns_read(is_pruned: bool) -> frozenset[str]:
    """Columns of a completion that something reads of the queue.

    Args:
        is_pruned: Whether the question's tag tells its rewards, and what was reported of them.
    """
    return UPDATES_READ | METRICS_READ | (frozenset() if is_pruned else UNSCORED_READ)


def completions_of(
    question: Mapping[str, Any], outputs: Mapping[int, AgentLoopOutput], read: Collection[str]
) -> Completions:
    """Completions of text, scored, as verl's V1 agent loop puts each of them, but for columns that nothing reads.

    Args:
        question: Its columns, `uid` and `global_steps` among them.
        outputs: Completions by the sample's number; those that are left out are not in the queue.
        read: The columns that are put.
    """
    rows = [{name: value for name, value in _row(question, one).items() if name in read} for one in outputs.values()]
    return Completions(
        keys=[completion_key(question["uid"], sample) for sample in outputs],
        rows=rows,
        tags=[_tag(question, one) | {BYTES: _size(row)} for one, row in zip(outputs.values(), rows, strict=True)],
    )


def _row(question: Mapping[str, Any], output: AgentLoopOutput) -> dict[str, Any]:
    row = {**output.as_dict(), **question}
    ids = torch.cat([row["prompts"], row["responses"]])
    return row | {
        "loss_mask": row["response_mask"],
        "input_ids": ids,
        "position_ids": torch.arange(len(ids)),
    }


def _size(row: Mapping[str, Any]) -> int:
    """Bytes of its tensors."""
    return sum(value.nbytes for value in row.values() if isinstance(value, torch.Tensor))


def _tag(question: Mapping[str, Any], output: AgentLoopOutput) -> dict[str, Any]:
    """What verl's trainer reads of a completion without its fields; the last three for how stale it is."""
    prompt, response = len(output.prompt_ids), len(output.response_ids)
    return {
        "status": "success",
        "prompt_len": prompt,
        "response_len": response,
        "seq_len": prompt + response,
        "global_steps": question["global_steps"],
        "min_global_steps": output.extra_fields.get("min_global_steps"),
        "max_global_steps": output.extra_fields.get("max_global_steps"),
    }

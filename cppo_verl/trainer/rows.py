"""Between verl's `DataProto` and the tensors of the core."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from verl import DataProto

from cppo_verl.algorithm.metrics import SampledRows
from cppo_verl.trainer.reported import numbers

SCORES = ("token_level_scores", "token_level_rewards", "rm_scores")
"""Columns of a batch that no forward and no update reads: an advantage is made of them, and metrics."""
PICTURES = "multi_modal_inputs"
"""The only column of verl's that is no tensor and that its engines read."""
SENT = "sent_bytes"
"""Column: bytes of a completion's tensors as its sampler sent them on, 0 where it was pruned there, NaN where it is not
known."""


def together(batches: Sequence[DataProto]) -> DataProto:
    """One batch of several; the one itself, which verl would copy, where there is one."""
    return batches[0] if len(batches) == 1 else DataProto.concat(batches)


def read_by_workers(batch: DataProto) -> DataProto:
    """What workers are sent of a batch: no `SCORES`, and of what is no tensor only pictures and the like, where there
    are any: workers move all columns of each micro-batch, row by row. What is left is the batch's own, not copied."""
    pictures = batch.non_tensor_batch.get(PICTURES)
    columns = {PICTURES: pictures} if pictures is not None and any(pictures) else {}
    return DataProto(batch.batch.exclude(*SCORES), columns, batch.meta_info)


def name_questions(batch: DataProto, step: int, first: int) -> None:
    """Set the `uid` of each question to `step:position in the step`, in place; the same after a resume."""
    batch.non_tensor_batch["uid"] = np.array([f"{step}:{first + i}" for i in range(len(batch))], dtype=object)


def row_id(uid: str, sample: int | str) -> str:
    """A completion's name, the same after a resume."""
    return f"{uid}:{sample}"


def name_completions(batch: DataProto, rollout_n: int) -> None:
    """Set the `row_id` of each completion, in place; rows of a question stand together."""
    uids = batch.non_tensor_batch["uid"]
    names = [row_id(uid, i % rollout_n) for i, uid in enumerate(uids)]
    batch.non_tensor_batch["row_id"] = np.array(names, dtype=object)


def check_sent(rows: DataProto, places: Sequence[Any]) -> None:
    """Of rows that are to be trained on: that they are where they were sent to.

    Args:
        rows: With their `row_id`.
        places: Of each of them; None where it was not sent.

    Raises:
        RuntimeError: The sampler pruned one of them.
    """
    absent = [name for name, place in zip(rows.non_tensor_batch["row_id"], places, strict=True) if place is None]
    if absent:
        raise RuntimeError(f"completion {absent[0]} is to be trained on, and was pruned where it was sampled")


def select_rows(batch: DataProto, rows: torch.Tensor | Sequence[int]) -> DataProto:
    """Some rows of a batch, in this order. What is noted in their `meta_info` is not noted in the batch's: verl 0.9.1's
    `select_idxs` hands on the same dictionary."""
    selected = batch.select_idxs(rows)
    selected.meta_info = dict(batch.meta_info)
    return selected


def with_tokens(rows: DataProto, sent: DataProto) -> DataProto:
    """Rows that came without tokens, with the tokens and further columns of what was sent of them.

    Args:
        rows: To be trained on.
        sent: Completions by `row_id`, these rows among them.

    Raises:
        RuntimeError: The sampler pruned one of the rows.
    """
    places = {name: place for place, name in enumerate(sent.non_tensor_batch["row_id"])}
    found = [places.get(name) for name in rows.non_tensor_batch["row_id"]]
    check_sent(rows, found)
    tokens = select_rows(sent, torch.tensor(found, dtype=torch.long))
    rows.batch.update(tokens.batch)
    rows.non_tensor_batch = tokens.non_tensor_batch | rows.non_tensor_batch
    return rows


def row_bytes(batch: DataProto) -> float:
    """Bytes of the tensors of one row of a batch; all rows have as many."""
    return sum(tensor.nbytes for tensor in batch.batch.values()) / len(batch)


def row_advantages(batch: DataProto) -> torch.Tensor:
    """The advantage of each completion `(num_rows,)`.

    An outcome advantage is the same at all of a completion's tokens; the first one's is read, because a
    mean over the tokens would differ by rounding between completions of different length. A completion
    without tokens has none: 0.
    """
    mask = batch.batch["response_mask"].bool()
    first = mask.int().argmax(dim=1, keepdim=True)
    return (batch.batch["advantages"] * mask).gather(1, first).squeeze(1)


def weigh_advantages(batch: DataProto, weights: torch.Tensor) -> None:
    """Multiply the advantages of each completion by its weight, `(num_rows,)`, in place, where they have some."""
    if "advantages" in batch.batch:
        tokens = batch.batch["advantages"]
        batch.batch["advantages"] = (tokens.double() * weights[:, None]).to(tokens.dtype)


def sampled_rows(batch: DataProto) -> SampledRows:
    """What the metrics look at, of all completions of a step."""
    width = batch.batch["responses"].shape[1]
    attention = batch.batch["attention_mask"]
    reported = batch.non_tensor_batch
    return SampledRows(
        question=reported["uid"],
        advantage=row_advantages(batch) if "advantages" in batch.batch else None,
        reward=batch.batch["token_level_scores"].sum(dim=1),
        prompt_tokens=attention[:, :-width].sum(dim=1),
        response_tokens=attention[:, -width:].sum(dim=1),
        accuracy=numbers("acc", reported),
        layout=numbers("format", reported),
        outcome=reported.get("outcome"),
    )


def num_questions(data_sources: Sequence[str], uids: Sequence[str]) -> dict[str, int]:
    """`val-aux/SOURCE/num_questions`, from the source and question of each validated completion."""
    questions = Counter(source for source, _ in set(zip(data_sources, uids, strict=True)))
    return {f"val-aux/{source}/num_questions": count for source, count in questions.items()}

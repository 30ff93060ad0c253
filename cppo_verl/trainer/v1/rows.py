"""Between verl's TransferQueue and `DataProto`, in which V0's rows come."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
import transfer_queue as tq
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl import DataProto
from verl.utils.transferqueue_utils import kv_batch_meta2batch_meta

from cppo_verl.trainer.group.scored import ScoredGroup, rows_without_tokens, scored_rows
from cppo_verl.trainer.rows import SENT, row_id, select_rows, together
from cppo_verl.trainer.stages import SPECULATED
from cppo_verl.trainer.v1.queue import BYTES, TRAIN, Taken, asked, completion_key

FORWARDS_READ = frozenset(
    ("prompts", "responses", "input_ids", "position_ids", "response_mask", "loss_mask", "routed_experts")
)
"""Columns that verl 0.9.1's engines read for log-probs."""
UPDATES_READ = FORWARDS_READ | frozenset(
    (
        *("rollout_log_probs", "old_log_probs", "ref_log_prob", "advantages", "returns", "rollout_is_weights"),
        *("teacher_ids", "teacher_logprobs"),
    )
)
"""The same, and what their losses read."""


def read_scored(batch: KVBatchMeta, prompt_width: int, response_width: int) -> DataProto:
    """Rewards, masks and what the reward function reported of finished completions.

    The tokens stay in the queue: `prompts` and `responses` are zeros of the right width.

    Args:
        batch: Keys `UID_SAMPLE_0`, one output a completion.
        prompt_width: Longest prompt, tokens.
        response_width: Longest response, tokens.

    Returns:
        The columns that the V0 trainer has of sampled rows, in the order of the keys.

    Raises:
        ValueError: The agent loop gave several outputs for one completion.
    """
    outputs = [key.rsplit("_", 2) for key in batch.keys]
    if several := next((uid for uid, _, output in outputs if output != "0"), None):
        raise ValueError(f"the agent loop gave several outputs for one completion of question {several}: not supported")
    fields = ["response_mask", "rm_scores", "extra_fields"]
    data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
    prompts = torch.tensor([tag["prompt_len"] for tag in batch.tags])
    responses = torch.tensor([tag["response_len"] for tag in batch.tags])
    scores, mask = (_padded(data[name], response_width) for name in ("rm_scores", "response_mask"))
    told = list(data["extra_fields"])
    reported = [row.get("reward_extra_info", {}) for row in told]
    columns = {name: np.array([row[name] for row in reported], dtype=object) for name in reported[0]}
    columns |= {name: np.array([row[name] for row in told], dtype=object) for name in SPECULATED if name in told[0]}
    columns |= {
        "uid": np.array([uid for uid, _, _ in outputs], dtype=object),
        "row_id": np.array([row_id(uid, sample) for uid, sample, _ in outputs], dtype=object),
        **_in_queue(batch.keys, batch.tags),
    }
    return DataProto(rows_without_tokens(prompts, responses, prompt_width, mask, scores), columns)


def read_taken(taken: Taken, prompt_width: int, response_width: int) -> DataProto:
    """The completions of questions, whether they were pruned where they were sampled or are all in the queue.

    Args:
        taken: The questions.
        prompt_width: Longest prompt, tokens.
        response_width: Longest response, tokens.

    Returns:
        As `read_scored`; where both kinds are there in the order of the questions. The `key` of a completion that is
        not in the queue is None.
    """
    tags, parts = dict(zip(taken.completions.keys, taken.completions.tags, strict=True)), []
    if groups := [ScoredGroup(**taken.scored[uid]) for uid in taken.questions if uid in taken.scored]:
        rows = scored_rows(groups, prompt_width, response_width)
        keys = [completion_key(*row.rsplit(":", 1)) for row in rows.non_tensor_batch["row_id"]]
        rows.non_tensor_batch |= _in_queue([key if key in tags else None for key in keys], [tags.get(k) for k in keys])
        parts.append(rows)
    if others := [key for key in tags if key.split("_")[0] not in taken.scored]:
        batch = KVBatchMeta(partition_id=TRAIN, keys=others, tags=[tags[key] for key in others])
        parts.append(read_scored(batch, prompt_width, response_width))
    rows = together(parts)
    if len(parts) == 1:
        return rows
    place = {uid: number for number, uid in enumerate(taken.questions)}
    return select_rows(rows, np.argsort([place[uid] for uid in rows.non_tensor_batch["uid"]], kind="stable"))


def read_texts(batch: KVBatchMeta, tokenizer) -> dict[str, np.ndarray]:
    """Columns `input`, `output` and `gts` of finished completions, for a dump."""
    fields = ["prompts", "responses", "reward_model"]
    data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
    texts = {
        "input": [tokenizer.decode(ids, skip_special_tokens=True) for ids in data["prompts"].unbind()],
        "output": [tokenizer.decode(ids, skip_special_tokens=True) for ids in data["responses"].unbind()],
        "gts": [question.get("ground_truth") for question in data["reward_model"]],
    }
    return {name: np.array(column, dtype=object) for name, column in texts.items()}


def in_order(rows: DataProto, kept: torch.Tensor) -> list[int]:
    """The kept rows by question, in the order in which they were asked, and by sample within it."""

    def place(row: int) -> tuple:
        uid, sample = rows.non_tensor_batch["row_id"][row].rsplit(":", 1)
        return *asked(uid), int(sample)

    return sorted(kept.tolist(), key=place)


def columns_there(batch: KVBatchMeta, wanted: Collection[str]) -> list[str]:
    """Those of these columns that a batch has in the queue: what workers are to fetch, who would else fetch all."""
    there = kv_batch_meta2batch_meta(KVBatchMeta(keys=batch.keys, tags=batch.tags, partition_id=batch.partition_id))
    return [name for name in there.field_names if name in wanted]


def write_columns(batch: KVBatchMeta, rows: DataProto, *names: str) -> None:
    """Put columns `(num_rows, width)` of the batch's rows into the queue, cut to each response's length."""
    lengths = [tag["response_len"] for tag in batch.tags]
    ragged = {
        name: torch.nested.as_nested_tensor(
            [row[:length] for row, length in zip(rows.batch[name], lengths, strict=True)], layout=torch.jagged
        )
        for name in names
    }
    tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=TensorDict(ragged, batch_size=len(batch)))


def nothing_to_delete() -> KVBatchMeta:
    """A key without data, for verl to delete after a step that trained on nothing: the queue takes no empty list."""
    return tq.kv_batch_put(keys=["nothing"], partition_id=TRAIN, tags=[{}])


def _in_queue(keys: Sequence[str | None], tags: Sequence[dict[str, Any] | None]) -> dict[str, np.ndarray]:
    """Columns that say where completions are, None where they are not, and how large they were put there."""
    sent = [0 if tag is None else tag.get(BYTES, np.nan) for tag in tags]
    columns = {name: np.array([*values, None], dtype=object)[:-1] for name, values in (("key", keys), ("tag", tags))}
    return {**columns, SENT: np.array(sent, dtype=float)}


def _padded(ragged: torch.Tensor, width: int) -> torch.Tensor:
    rows = ragged.to_padded_tensor(padding=0)
    return torch.nn.functional.pad(rows, (0, width - rows.shape[1]))

"""A question's completions into verl's TransferQueue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transfer_queue as tq
from verl.experimental.agent_loop import AgentLoopOutput
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from cppo_verl.trainer.v1.queue import BYTES, TRAIN, completion_key


async def put_question(question: Mapping[str, Any], outputs: Mapping[int, AgentLoopOutput]) -> None:
    """Put completions of text, scored, as verl's V1 agent loop puts each of them, but all at once.

    Args:
        question: Its columns, `uid` and `global_steps` among them.
        outputs: Completions by the sample's number; those that are left out are not in the queue.
    """
    if not outputs:
        return  # the queue takes no empty batch
    rows = [_row(question, output, sample) for sample, output in outputs.items()]
    await tq.async_kv_batch_put(
        keys=[completion_key(question["uid"], sample) for sample in outputs],
        fields=list_of_dict_to_tensordict(rows),
        tags=[_tag(question, output) | {BYTES: _size(row)} for output, row in zip(outputs.values(), rows, strict=True)],
        partition_id=TRAIN,
    )


def _row(question: Mapping[str, Any], output: AgentLoopOutput, sample: int) -> dict[str, Any]:
    fields = output.as_dict()
    ids = torch.cat([fields["prompts"], fields["responses"]])
    row = {**fields, **question, "session_id": sample}
    row.pop("multi_modal_data", None)  # empty: this is text
    return row | {
        "loss_mask": row["response_mask"],
        "input_ids": ids,
        "position_ids": torch.arange(len(ids)),
        "multi_modal_inputs": {},
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

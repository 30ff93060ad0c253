"""Between verl's `DataProto` and the tensors of the core."""

from __future__ import annotations

import numpy as np
import torch
from verl import DataProto

from cppo_verl.metrics import SampledRows


def name_questions(batch: DataProto, step: int, first: int) -> None:
    """Set the `uid` of each question to `step:position in the step`, in place; the same after a resume."""
    batch.non_tensor_batch["uid"] = np.array([f"{step}:{first + i}" for i in range(len(batch))], dtype=object)


def name_completions(batch: DataProto, rollout_n: int) -> None:
    """Set the `row_id` of each completion to `uid:sample`, in place; rows of a question stand together."""
    uids = batch.non_tensor_batch["uid"]
    batch.non_tensor_batch["row_id"] = np.array([f"{uid}:{i % rollout_n}" for i, uid in enumerate(uids)], dtype=object)


def row_advantages(batch: DataProto) -> torch.Tensor:
    """The advantage of each completion `(num_rows,)`.

    An outcome advantage is the same at all of a completion's tokens; the first one's is read, because a
    mean over the tokens would differ by rounding between completions of different length. A completion
    without tokens has none: 0.
    """
    mask = batch.batch["response_mask"].bool()
    first = mask.int().argmax(dim=1, keepdim=True)
    return (batch.batch["advantages"] * mask).gather(1, first).squeeze(1)


def sampled_rows(batch: DataProto) -> SampledRows:
    """What the metrics look at, of all completions of a step."""
    width = batch.batch["responses"].shape[1]
    attention = batch.batch["attention_mask"]
    accuracy = batch.non_tensor_batch.get("acc")
    return SampledRows(
        question=batch.non_tensor_batch["uid"],
        advantage=row_advantages(batch),
        reward=batch.batch["token_level_scores"].sum(dim=1),
        prompt_tokens=attention[:, :-width].sum(dim=1),
        response_tokens=attention[:, -width:].sum(dim=1),
        accuracy=None if accuracy is None else torch.as_tensor(accuracy.astype(float)),
    )

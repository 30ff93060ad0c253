"""What a reward function reports beside its score, kept apart from what verl and CPPO keep of a completion."""

from __future__ import annotations

from collections.abc import Container, Mapping
from functools import cache
from numbers import Real
from typing import Any

import numpy as np
import torch

from cppo_verl.runs.notices import notice

COUNTED = ("acc", "format", "outcome")
"""What CPPO reads of it."""
APART = "reward/"
"""Before the name of a reported value that would stand for something else."""
TAKEN = frozenset(
    (
        *("uid", "row_id", "sent_bytes", "rollout_seed", "key", "tag", "request_id"),
        *("input", "output", "gts", "step", "reward"),
        *("prompts", "responses", "input_ids", "position_ids", "attention_mask", "response_mask", "loss_mask"),
        *("rm_scores", "token_level_scores", "token_level_rewards", "advantages", "returns", "values"),
        *("old_log_probs", "ref_log_prob", "rollout_log_probs", "rollout_is_weights", "routed_experts"),
        *("teacher_ids", "teacher_logprobs", "entropys", "sum_pi_squared", "indices", "max_seq_len"),
        *("multi_modal_inputs", "multi_modal_data", "turn_scores", "tool_rewards", "extras", "reward_extra_info"),
        *("raw_prompt", "min_global_steps", "max_global_steps", "max_response_len", "acc_success_only"),
        *("spec_num_draft_tokens", "spec_num_accepted_tokens", "spec_num_verify_steps"),
    )
)
"""Names that verl 0.9.1 or CPPO gives to columns of completions, and to those of a dump."""


class ReportedApart:
    """A mixin over verl's agent-loop workers, V0's and V1's: what a reward reports can hide no other column."""

    async def _compute_score(self, outputs: list, kwargs: dict) -> None:
        await super()._compute_score(outputs, kwargs)
        fields = outputs[-1].extra_fields
        if "reward_extra_info" in fields:
            fields["reward_extra_info"] = kept_apart(fields["reward_extra_info"], kwargs)


def kept_apart(reported: Mapping[str, Any], columns: Container[str] = ()) -> dict[str, Any]:
    """What a reward function reported of a completion, under names of its own, and of values that make a column.

    Args:
        reported: Name to value.
        columns: Further names that are taken: those of the data.

    Returns:
        The same; `reward/NAME` where `NAME` is taken, and the text of a value that is neither number, text nor None.

    Raises:
        ValueError: The data have a column of a name that is counted.
    """
    if both := [name for name in COUNTED if name in reported and name in columns]:
        raise ValueError(
            f"the data have a column {both[0]}, and the reward function reports {both[0]}, which is counted; rename "
            "the data's"
        )
    is_apart = {name: name in TAKEN or name in columns or name.startswith("__") for name in reported}
    return {APART + name if is_apart[name] else name: plain(value) for name, value in reported.items()}


def plain(value: Any) -> Any:
    """A number, text or None as it is, what holds one number as that, and of anything else the text."""
    value = value.item() if hasattr(value, "item") and np.ndim(value) == 0 else value
    return value if value is None or isinstance(value, str | Real) else str(value)


def numbers(name: str, reported: Mapping[str, np.ndarray]) -> torch.Tensor | None:
    """A column of a batch as float64, `(num_rows,)`; None where it is not there, or not all of it is finite numbers."""
    column = reported.get(name)
    if column is None:
        return None
    if not all(isinstance(value, Real | np.bool_) and np.isfinite(value) for value in column):
        _say_unread(name)
        return None
    return torch.as_tensor(column.astype(float))


@cache
def _say_unread(name: str) -> None:
    """Once for each name in a process."""
    notice(f"the reward function reports values of {name} that are no numbers: what is counted by it is left out")

"""Importing this makes verl's engines take log-probs of many tokens at a time; `worker_options` has the workers do so.

Without flash-attn's cross entropy, `logprobs_from_logits_v2` of verl 0.9.1 loops over the rows of the logits. Its
engine packs a micro-batch into one sequence, so that a row is a token: tens of thousands of kernels, each of one token,
take longer than the forward itself. Nothing registers another function, so this one is put in its place. Time that a
forward takes for nothing is time that pruning saves: verl's own GRPO, as a baseline, is given this one too.

tests/trainer/test_log_probs.py fails when it no longer fits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from verl.utils import torch_functional

from cppo_verl.hardware.memory import TOKENS_AT_ONCE

verls = torch_functional.logprobs_from_logits_v2


def log_probs(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of the labels, by verl's own operations on `TOKENS_AT_ONCE` tokens at a time.

    On the CPU values and gradients are bit-identical to verl's, but where verl's sum over a large vocabulary of float32
    logits is split over several threads: theirs then depends on the number of threads, this one does not.

    Args:
        logits: `(..., vocabulary)`.
        labels: `(...)`, token ids.

    Returns:
        `(...)`, in the logits' type, under CUDA's autocast in float32.
    """
    parts = zip(logits.flatten(0, -2).split(TOKENS_AT_ONCE), labels.flatten().split(TOKENS_AT_ONCE), strict=True)
    return torch.cat([_of_part(*part) for part in parts]).view(labels.shape)


def _of_part(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of `(num_tokens, vocabulary)`; which operations, goes by the type, as in verl's."""
    index = labels.unsqueeze(-1)
    if logits.dtype in (torch.float32, torch.float64):
        return logits.gather(-1, index).squeeze(-1) - torch.logsumexp(logits, dim=-1)
    return F.log_softmax(logits, dim=-1).gather(-1, index).squeeze(-1)


torch_functional.logprobs_from_logits_v2 = log_probs

"""The pruning rule of a run as a value, so that it can be applied wherever the completions are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cppo_verl.algorithm.options import CPPOConfig, Metric, Scope, ZeroVariance
from cppo_verl.algorithm.pruning import select_completions


@dataclass(frozen=True)
class PruningRule:
    """Which completions are kept.

    With `scope="question"` it is a function of each question by itself: applied to one question or to many at once, the
    same completions are kept, also where advantages are equal.
    """

    keep: int
    """k, completions kept a question."""
    metric: Metric = "smallest"
    scope: Scope = "question"
    zero_variance: ZeroVariance = "keep"
    seed: int = 0
    """Seeds the breaking of ties."""

    @classmethod
    def of(cls, config: CPPOConfig, keep: int) -> PruningRule:
        """A run's, where k completions are kept a question."""
        return cls(keep, config.metric, config.scope, config.zero_variance, config.seed)

    def kept(
        self,
        advantages: torch.Tensor,
        groups: Sequence[Hashable] | np.ndarray,
        row_ids: Sequence[Hashable] | np.ndarray,
    ) -> torch.Tensor:
        """Kept row indices, ascending, LongTensor; arguments and errors are those of `select_completions`."""
        return select_completions(
            advantages,
            groups,
            self.keep,
            metric=self.metric,
            scope=self.scope,
            zero_variance=self.zero_variance,
            seed=self.seed,
            row_ids=row_ids,
        )

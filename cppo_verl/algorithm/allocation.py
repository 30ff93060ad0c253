"""Dynamic completion allocation (paper §3.3): fill a step's rows with kept completions.

One `Allocator` lives for one step. Invariants: it never asks for more questions than the rows it still
has room for; `take` hands out exactly the planned rows when they were reached, else what ranks and
mini-batches divide; every row it hands out was kept by the pruning rule; nothing outlives the step,
because a completion carried to a later one would be off-policy.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from cppo_verl.algorithm.lots import tie_keys
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.pruning import select_completions
from cppo_verl.algorithm.step_plan import StepPlan
from cppo_verl.algorithm.unbiased import importance_weights


@dataclass(frozen=True)
class Allocation:
    """What a step trains on."""

    rows: torch.Tensor
    """Positions among all rows sampled in the step, over its rounds in order; ascending, LongTensor."""

    mini_batch_rows: int
    """Rows an optimiser update, and the divisor of the loss; 0 when there is nothing to train on."""

    surplus: int
    """Kept completions left over because they fill no whole mini-batch on every rank."""

    weights: torch.Tensor
    """What the advantages of `rows` are multiplied by: 1, but for `metric=unbiased`; `(len(rows),)`, float64."""

    def weights_of(self, rows: Sequence[int]) -> torch.Tensor:
        """The weights of these of the `rows`, in their order."""
        return self.weights[torch.searchsorted(self.rows, torch.as_tensor(rows, dtype=torch.long))]


@dataclass
class Allocator:
    """Collects the kept completions of one generation round after another until a step is full."""

    plan: StepPlan
    config: CPPOConfig
    rounds: int = 0
    """Rounds added so far."""
    sampled: int = 0
    """Rows sampled so far, over all rounds."""
    kept: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    """Kept positions among the sampled rows."""
    _strength: list[np.ndarray] = field(default_factory=list)
    _keys: list[np.ndarray] = field(default_factory=list)
    _weights: list[torch.Tensor] = field(default_factory=list)

    @property
    def room(self) -> int:
        """Rows that are still free."""
        return max(self.plan.rows - len(self.kept), 0)

    @property
    def questions(self) -> int:
        """Questions sampled so far."""
        return self.sampled // self.plan.rollout_n

    def questions_missing(self) -> int:
        """Questions whose kept completions would fill the step; 0 when it is full."""
        return -(-self.room // self.plan.keep)

    def questions_needed(self) -> int:
        """Questions to sample in the next round; 0 when the step is full or its rounds are used up."""
        return self.questions_missing() if self.rounds < self._max_rounds else 0

    def questions_to_take(self) -> int:
        """The same where questions are taken as they are finished: in all, as many as the rounds could sample."""
        most = self.plan.questions * self.config.max_gen_rounds
        return min(self.questions_missing(), most - self.questions)

    def add(self, advantages: torch.Tensor, groups: Sequence[Hashable], row_ids: Sequence[Hashable]) -> torch.Tensor:
        """Prune one round and collect what is kept.

        Args:
            advantages: `(num_rows,)`, over all G completions of each of the round's questions.
            groups: Question id of each row.
            row_ids: Id of each row, unique in the step, the same after a resume.

        Returns:
            Kept rows of this round, ascending, LongTensor.
        """
        kept = select_completions(
            advantages,
            groups,
            self.plan.keep,
            metric=self.config.metric,
            scope=self.config.scope,
            zero_variance=self.config.zero_variance,
            seed=self.config.seed,
            row_ids=row_ids,
        )
        self.kept = torch.cat([self.kept, kept + self.sampled])
        self._note(advantages.detach().double().cpu(), groups, row_ids, kept)
        self.sampled += len(advantages)
        self.rounds += 1
        return kept

    def take(self) -> Allocation:
        """Close the step: the rows to train on, without the surplus: that of smallest |A|, or with `metric=unbiased`,
        which no |A| may decide, by lot."""
        rows, mini_batch_rows = self.plan.trim(len(self.kept))
        if not self.rounds:
            return Allocation(self.kept, 0, 0, torch.ones(0, dtype=torch.double))
        strongest = np.lexsort((np.concatenate(self._keys), -np.concatenate(self._strength)))[:rows]
        taken = torch.from_numpy(np.sort(strongest))
        return Allocation(self.kept[taken], mini_batch_rows, len(self.kept) - rows, torch.cat(self._weights)[taken])

    def _note(
        self, advantages: torch.Tensor, groups: Sequence[Hashable], row_ids: Sequence[Hashable], kept: torch.Tensor
    ) -> None:
        """Of the kept rows, what decides which are surplus, and their weights."""
        is_drawn = self.config.metric == "unbiased"
        weights = importance_weights(advantages, groups, self.plan.keep) if is_drawn else torch.ones_like(advantages)
        strength = torch.zeros_like(advantages) if is_drawn else advantages.abs()
        lots = tie_keys(row_ids, self.config.seed + is_drawn)  # other lots than the draw's
        self._weights.append(weights[kept])
        self._strength.append(strength[kept].numpy())
        self._keys.append(lots[kept.numpy()])

    @property
    def _max_rounds(self) -> int:
        return self.config.max_gen_rounds if self.config.zero_variance == "drop" else 1

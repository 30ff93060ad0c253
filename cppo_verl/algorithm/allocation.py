"""Dynamic completion allocation (paper §3.3): fill a step's rows with kept completions.

One `Allocator` lives for one step. Invariants: it never keeps more rows than the step has room for; a question's
kept completions are those of the pruning rule, whichever round it comes in; `take` hands out exactly the planned rows
when they were reached, else what ranks and mini-batches divide; nothing outlives the step, because a completion
carried to a later one would be off-policy.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from cppo_verl.algorithm.lots import as_array
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.pruning import select_pooled, zero_variance_rows
from cppo_verl.algorithm.rule import PruningRule
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
    """Kept completions left over because they fill no whole mini-batch on every rank, or k for each question that was
    sampled when the step had no room left for it."""

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
    spare: int = 0
    """Completions that would have been kept, of questions for which the step had no room left."""
    used: int = 0
    """Questions of the last round, up to the one that filled the step where one did: what comes after is not used."""
    _noted: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    """Of the kept rows of each round: advantages, questions, ids and weights."""

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
        """Questions to sample in the next round; 0 when the step is full or its rounds are used up.

        As many as will fill the step if as large a share of them is kept as of those before, and never more than the
        first round's.
        """
        if self.rounds >= self._max_rounds:
            return 0
        missing, kept = self.questions_missing(), len(self.kept) // self.plan.keep
        expected = -(-missing * self.questions // kept) if kept else missing
        return min(expected, self.plan.questions)

    def questions_to_take(self) -> int:
        """The same where questions are taken as they are finished: in all, as many as the rounds could sample."""
        most = self.plan.questions * self.config.max_gen_rounds
        return min(self.questions_missing(), most - self.questions)

    def add(self, advantages: torch.Tensor, groups: Sequence[Hashable], row_ids: Sequence[Hashable]) -> torch.Tensor:
        """Prune one round and collect what is kept.

        Where more questions are to be kept than there is room for, those that come first are.

        Args:
            advantages: `(num_rows,)`, over all G completions of each of the round's questions.
            groups: Question id of each row.
            row_ids: Id of each row, unique in the step, the same after a resume.

        Returns:
            Kept rows of this round, ascending, LongTensor.
        """
        codes, row_ids = pd.factorize(as_array(groups), use_na_sentinel=False)[0], as_array(row_ids)
        fits = self._with_room(advantages, codes)
        chosen = PruningRule.of(self.config, self.plan.keep).kept(advantages[fits], codes[fits], row_ids[fits])
        kept = torch.from_numpy(fits)[chosen]
        self._note(advantages.detach().double().cpu(), codes, row_ids, kept)
        self.kept = torch.cat([self.kept, kept + self.sampled])
        self.sampled += len(advantages)
        self.rounds += 1
        return kept

    def take(self) -> Allocation:
        """Close the step: the rows to train on, without the surplus, which is what the metric prunes first."""
        rows, mini_batch_rows = self.plan.trim(len(self.kept))
        if not self.rounds:
            return Allocation(self.kept, 0, 0, torch.ones(0, dtype=torch.double))
        advantages, questions, row_ids, weights = (np.concatenate(column) for column in zip(*self._noted, strict=True))
        config = self.config
        taken = select_pooled(
            torch.from_numpy(advantages), questions, rows, row_ids, metric=config.metric, seed=config.seed
        )
        surplus = len(self.kept) - rows + self.spare
        return Allocation(self.kept[taken], mini_batch_rows, surplus, torch.from_numpy(weights)[taken])

    def _with_room(self, advantages: torch.Tensor, codes: np.ndarray) -> np.ndarray:
        """Rows of the round without those of its last questions, where more are to be kept than there is room for."""
        useful = np.unique(codes)
        if self.config.zero_variance == "drop":
            flat = zero_variance_rows(advantages.detach().double().cpu().numpy(), codes)
            useful = np.unique(codes[~flat])
        room, questions = self.questions_missing(), int(codes.max(initial=-1)) + 1
        self.used = int(useful[room - 1]) + 1 if 0 < room <= len(useful) else questions
        self.spare += max(len(useful) - room, 0) * self.plan.keep
        return np.flatnonzero(codes < self.used)

    def _note(self, advantages: torch.Tensor, codes: np.ndarray, row_ids: np.ndarray, kept: torch.Tensor) -> None:
        """Of the kept rows, what decides which are surplus, and their weights."""
        is_drawn = self.config.metric == "unbiased"
        weights = importance_weights(advantages, codes, self.plan.keep) if is_drawn else torch.ones_like(advantages)
        rows = kept.numpy()
        self._noted.append(
            (advantages.numpy()[rows], codes[rows] + self.questions, row_ids[rows], weights.numpy()[rows])
        )

    @property
    def _max_rounds(self) -> int:
        return self.config.max_gen_rounds if self.config.zero_variance == "drop" else 1

"""The `cppo/*` metrics: what was sampled, what was kept, what was pruned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from cppo_verl.algorithm.pruning import zero_variance_rows

KINDS = {
    f"format_{layout}_answer_{answer}": (layout == "right", answer == "right")
    for layout in ("right", "wrong")
    for answer in ("right", "wrong")
}
"""The four kinds of completion (paper Table 3): name to whether format and answer are right."""
SUBSET = "cppo/validation/subset"
"""Of how many questions a validation was, where it was of a part of them; not logged with one of all."""
UPDATES = "cppo/updates"
"""How many updates the policy's optimiser made in a step."""
MOST_OUTCOMES = 16
"""Different words that a run counts, each by itself, of what became of the comparisons with the gold."""
OTHER = "other"
PLACES = 8
"""Into how many parts a step's updates are divided at the most."""


@dataclass(frozen=True)
class SampledRows:
    """One entry a completion sampled in a step, over all its rounds; tensors `(num_rows,)`."""

    question: np.ndarray
    """Question id."""
    advantage: torch.Tensor | None
    """None where a completion has none of its own: a critic gives one to each token."""
    reward: torch.Tensor
    prompt_tokens: torch.Tensor
    response_tokens: torch.Tensor
    accuracy: torch.Tensor | None = None
    """1 where the answer is right, where the reward function reports `acc`."""
    layout: torch.Tensor | None = None
    """1 where the format is right, where the reward function reports `format`."""
    outcome: np.ndarray | None = None
    """What became of the comparison with the gold, in a word, where the reward function reports `outcome`."""

    def means(self, rows: torch.Tensor) -> dict[str, float]:
        """Mean reward, accuracy, response length and |A| of some rows."""
        columns = {
            "reward": self.reward,
            "accuracy": self.accuracy,
            "response_length": self.response_tokens,
            "abs_advantage": None if self.advantage is None else self.advantage.abs(),
        }
        return {name: col[rows].double().mean().item() for name, col in columns.items() if col is not None}

    def kinds(self) -> dict[str, torch.Tensor]:
        """Which rows are of each of the `KINDS`, BoolTensors; empty where format or answer are not reported."""
        if self.accuracy is None or self.layout is None:
            return {}
        layout, answer = self.layout > 0, self.accuracy > 0
        return {name: (layout == fine) & (answer == right) for name, (fine, right) in KINDS.items()}


def step_metrics(
    sampled: SampledRows, kept: torch.Tensor, *, rounds: int, surplus: int, outcomes: Outcomes | None = None
) -> dict[str, float]:
    """Metrics of a step.

    Args:
        sampled: All completions sampled.
        kept: Positions trained on, LongTensor.
        rounds: Generation rounds.
        surplus: Completions that the rule kept and the step had no mini-batch for.
        outcomes: The run's, of its steps before; None for a step by itself.

    Returns:
        `cppo/*`. Left out are means over an empty set (nothing pruned, nothing kept), the counts of the four kinds
        where the reward function does not report `format` and `acc`, and the metrics of advantages where
        completions have none.
    """
    total = len(sampled.reward)
    tokens = sampled.prompt_tokens + sampled.response_tokens
    is_kept = torch.zeros(total, dtype=torch.bool)
    is_kept[kept] = True
    codes, questions = pd.factorize(sampled.question)
    metrics = {
        "cppo/questions": len(questions),
        "cppo/completions_sampled": total,
        "cppo/completions_kept": len(kept),
        "cppo/kept_fraction": len(kept) / total,
        "cppo/tokens_sampled": tokens.sum().item(),
        "cppo/tokens_trained": tokens[kept].sum().item(),
        "cppo/rounds": rounds,
        "cppo/surplus": surplus,
    }
    if sampled.advantage is not None:
        flat = zero_variance_rows(sampled.advantage.double().numpy(), codes)
        metrics["cppo/zero_variance_questions"] = len(np.unique(codes[flat]))
    if sampled.advantage is not None and len(kept):
        metrics["cppo/kept/positive_advantage_share"] = (sampled.advantage[kept] > 0).double().mean().item()
    for name, rows in (("sampled", is_kept | True), ("kept", is_kept), ("pruned", ~is_kept)):
        if rows.any():
            metrics |= {f"cppo/{name}/{key}": value for key, value in sampled.means(rows).items()}
    for kind, rows in sampled.kinds().items():
        metrics[f"cppo/kinds/{kind}/sampled"] = rows.sum().item()
        metrics[f"cppo/kinds/{kind}/kept"] = (rows & is_kept).sum().item()
    if sampled.outcome is not None:
        counts = (outcomes or Outcomes()).count(sampled.outcome)
        metrics |= {f"cppo/outcomes/{name}": count for name, count in counts.items()}
    return metrics


class Outcomes:
    """A run's outcomes, which are counted by their words while the words are few.

    Of a free text each value would be a curve of its own: once a run has seen more than `MOST_OUTCOMES` different words
    in its steps, all outcomes are `other`.

    Args:
        words: Those of the steps before, where a run goes on.
    """

    def __init__(self, words: Iterable[str] = ()):
        self._seen = set(words)

    @property
    def words(self) -> list[str]:
        """Seen so far, sorted; of too many as many as tell that."""
        return sorted(self._seen)[: MOST_OUTCOMES + 1]

    def count(self, outcomes: np.ndarray) -> Counter[str]:
        """How many rows of a step have each outcome, `(num_rows,)`; `other` counts what is no single word too."""
        words = Counter(name if isinstance(name, str) and name.isidentifier() else OTHER for name in outcomes.tolist())
        if len(self._seen) <= MOST_OUTCOMES:
            self._seen |= words.keys() - {OTHER}
        return words if len(self._seen) <= MOST_OUTCOMES else Counter({OTHER: len(outcomes)})


def clipping_by_place(fractions: Sequence[float]) -> dict[str, float]:
    """How the clipping grows within a step: an update late in it is further from the old policy.

    Args:
        fractions: Share of tokens whose ratio was clipped, in each update of the step, in order.

    Returns:
        `cppo/pg_clipfrac/1`, `/2` and so on: of each update, or of more than `PLACES` the mean of each of so many
        equal parts.
    """
    parts = np.array_split(np.asarray(fractions, float), max(1, min(len(fractions), PLACES)))
    return {f"cppo/pg_clipfrac/{place}": part.mean().item() for place, part in enumerate(parts, 1) if len(part)}


def validation_accuracy(metrics: Mapping[str, float]) -> float | None:
    """Share of a validation's questions answered right, from a step's metrics; None without a validation.

    Over several data sources it is that of all their questions, or, where their numbers were not logged, the mean
    of the sources'.
    """
    sources = {key: key.removeprefix("val-core/").partition("/acc/mean@") for key in metrics}
    found = {source: metrics[key] for key, (source, at, _) in sources.items() if at and key.startswith("val-core/")}
    counts = [metrics.get(f"val-aux/{source}/num_questions") for source in found]
    return float(np.average(list(found.values()), weights=None if None in counts else counts)) if found else None

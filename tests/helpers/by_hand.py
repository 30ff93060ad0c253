"""Advantages and gradients of verl's estimators and losses, by hand: plain Python over float64, without autograd.

A row is a completion; `new` and `old` are the log-probs of its tokens under the policy and the old policy, `weight`
what the rollout correction weighs each token by, `counts` whether it is in the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import fmean, stdev

LOW = HIGH = 0.2
"""How far the ratio may be from 1."""
DUAL = 3.0
"""The largest ratio that counts where A < 0."""
TAU_POS, TAU_NEG = 1.0, 1.05
BETA = 0.1
"""Of `dro`."""
COV_LOW, COV_HIGH = 0.02, 5.0
KL_SHARE, KL_COEF = 0.3, 0.1


@dataclass
class Row:
    """A kept completion."""

    advantage: float
    new: list[float]
    old: list[float]
    weight: list[float]
    counts: list[bool]

    @property
    def tokens(self) -> list[int]:
        """Positions that are in the loss."""
        return [t for t, counts in enumerate(self.counts) if counts]


def advantages(estimator: str, rewards: Sequence[float], lengths: Sequence[int], group: int) -> list[float]:
    """One for each completion; `group` of them are a question's."""
    found: list[float] = []
    for start in range(0, len(rewards), group):
        r, n = list(rewards[start : start + group]), list(lengths[start : start + group])
        mean = fmean(r)
        best = sorted(r, reverse=True)[:2]
        found += {
            "grpo": lambda r=r, mean=mean: [(x - mean) / (stdev(r) + 1e-6) for x in r],
            "dr_grpo": lambda r=r, mean=mean: [x - mean for x in r],
            "rloo": lambda r=r: [x - (sum(r) - x) / (group - 1) for x in r],
            "opo": lambda r=r, n=n: [x - sum(a * b for a, b in zip(r, n, strict=True)) / sum(n) for x in r],
            "grpo_passk": lambda r=r, best=best: [
                (best[0] - best[1]) / (stdev(r) + 1e-6) if i == r.index(best[0]) else 0.0 for i in range(group)
            ],
        }[OF_QUESTION.get(estimator, estimator)]()
    if estimator == "reinforce_plus_plus_baseline":
        tokens = [a for a, n in zip(found, lengths, strict=True) for _ in range(n)]
        found = [(a - fmean(tokens)) / sqrt(stdev(tokens) ** 2 + 1e-8) for a in found]
    if estimator == "gpg":
        found = [a * len(rewards) / sum(r != 0 for r in rewards) for a in found]
    return found


OF_QUESTION = {
    "grpo_vectorized": "grpo",
    "rloo_vectorized": "rloo",
    "reinforce_plus_plus_baseline": "dr_grpo",
    "gpg": "dr_grpo",
}
"""Estimators to the one that they are within a question."""


def slopes(loss: str, rows: Sequence[Row], micro_batches: Sequence[Sequence[int]]) -> list[list[float]]:
    """The derivative of each token's loss by its log-prob, before the losses are aggregated.

    Args:
        loss: verl's `loss_mode`.
        rows: Of a mini-batch.
        micro_batches: Which of them are in each micro-batch.
    """
    chosen = {pair for micro in micro_batches for pair in _by_covariance(loss, rows, micro)}
    return [
        [_slope(loss, row, t, (i, t) in chosen) * row.weight[t] if row.counts[t] else 0.0 for t in range(len(row.new))]
        for i, row in enumerate(rows)
    ]


def _slope(loss: str, row: Row, t: int, is_chosen: bool) -> float:
    advantage, difference = row.advantage, row.new[t] - row.old[t]
    ratio = exp(difference)
    whole = fmean([row.new[s] - row.old[s] for s in row.tokens])
    if loss == "vanilla":
        return 0.0 if _is_clipped(ratio, advantage) or (advantage < 0 and ratio > DUAL) else -advantage * ratio
    if loss in ("dppo_tv", "dppo_kl"):
        return -advantage * min(ratio, DUAL) if _is_near(loss, exp(row.new[t]), exp(row.old[t]), advantage) else 0.0
    if loss == "gspo":
        return 0.0 if _is_clipped(exp(whole), advantage) else -advantage * exp(whole)
    if loss == "sapo":
        gate = 1 / (1 + exp(-(TAU_POS if advantage > 0 else TAU_NEG) * (ratio - 1)))
        return -advantage * 4 * gate * (1 - gate) * ratio
    if loss == "clip_cov":
        return 0.0 if is_chosen or _is_clipped(ratio, advantage) else -advantage * ratio
    if loss == "kl_cov":
        return -advantage * ratio + (KL_COEF * (1 if difference > 0 else -1) if is_chosen else 0.0)
    if loss == "geo_mean":
        sign = 1 if advantage > 0 else -1
        limited = [min(sign * d, sign * min(max(d, -LOW), HIGH)) * sign for d in _differences(row)]
        return 0.0 if limited[row.tokens.index(t)] != difference else -advantage * exp(fmean(limited))
    if loss == "dro":
        return -(advantage - BETA * difference)
    if loss == "cispo":
        return -advantage * min(max(ratio, 1 - LOW), 1 + HIGH)
    return {"gpg": -advantage}[loss]


def _differences(row: Row) -> list[float]:
    return [row.new[t] - row.old[t] for t in row.tokens]


def _is_clipped(ratio: float, advantage: float) -> bool:
    return ratio > 1 + HIGH if advantage > 0 else ratio < 1 - LOW


def _is_near(loss: str, new: float, old: float, advantage: float) -> bool:
    """Whether a token's probability has not moved too far in the direction of its advantage."""
    if loss == "dppo_tv":
        return new - old <= HIGH if advantage > 0 else new - old >= -LOW
    divergence = old * log(old / new) + (1 - old) * log((1 - old) / (1 - new))
    return divergence <= HIGH or (new <= old if advantage > 0 else new >= old)


def _by_covariance(loss: str, rows: Sequence[Row], micro: Sequence[int]) -> list[tuple[int, int]]:
    """Row and token of what `clip_cov` leaves out and `kl_cov` penalises, in a micro-batch."""
    tokens = [(i, t) for i in micro for t in rows[i].tokens]
    if loss not in ("clip_cov", "kl_cov") or not tokens:
        return []
    mean_a, mean_p = fmean(rows[i].advantage for i, _ in tokens), fmean(rows[i].new[t] for i, t in tokens)
    cov = {(i, t): (rows[i].advantage - mean_a) * (rows[i].new[t] - mean_p) for i, t in tokens}
    if loss == "clip_cov":
        return [pair for pair in tokens if COV_LOW < cov[pair] < COV_HIGH]
    return sorted(tokens, key=lambda pair: -cov[pair])[: max(1, int(KL_SHARE * len(tokens)))]


def shares(aggregation: str, rows: Sequence[Row], divisor: int, horizon: int) -> list[float]:
    """What a token of each row of a mini-batch is multiplied by in the loss.

    Args:
        aggregation: verl's `loss_agg_mode`.
        rows: Of a mini-batch.
        divisor: Its planned completions.
        horizon: `loss_scale_factor`.
    """
    left = [len(row.tokens) for row in rows]
    return {
        "token-mean": lambda: [1 / sum(left)] * len(rows),
        "token-sum": lambda: [1.0] * len(rows),
        "seq-mean-token-sum": lambda: [1 / divisor] * len(rows),
        "seq-mean-token-sum-norm": lambda: [1 / divisor / horizon] * len(rows),
        "seq-mean-token-mean": lambda: [1 / divisor / max(tokens, 1) for tokens in left],
    }[aggregation]()

"""The ratio to expect at each P, and which P to use, if any."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from cppo_verl.algorithm.planning import decimal
from cppo_verl.report.advice.facts import Facts
from cppo_verl.report.split import SHRINKING, Split

WORTH = 1.15
"""How much faster a question must get for pruning to be worth while at all."""
FURTHER = 1.2
"""How much faster it must get by halving k once more, because an epoch's updates are halved too."""
LEAST_KEPT = 2
"""The smallest k that is recommended: at k = 1 the published accuracies fall (paper Tables 1 and 2)."""


@dataclass(frozen=True)
class Choice:
    """A pruning rate, and how many times faster than GRPO it makes a question."""

    rate: Fraction
    """P."""
    keep: int
    """k."""
    pruning_only: float
    """Without allocation, at the most."""
    allocated: float
    """With allocation, if completions are sampled no faster than in GRPO."""

    @property
    def written(self) -> str:
        """P as `cppo.pruning_rate` takes it."""
        return decimal(self.rate)


@dataclass(frozen=True)
class Advice:
    """What to do."""

    choices: tuple[Choice, ...]
    limit: float
    """How many times faster a question gets if the old and reference log-probs and the update cost nothing."""
    use: Choice | None
    """The P to use; None: do not prune."""
    sentence: str


def choices(split: Split, rollout_n: int, most: float = math.inf) -> Iterator[Choice]:
    """P = 0, and each time k is halved, rounded down; no ratio is above `most`."""
    keep = rollout_n
    while keep:
        rate = 1 - Fraction(keep, rollout_n)
        ratios = (min(ratio, most) for ratio in (split.bound(float(rate)), split.allocated(float(rate))))
        yield Choice(rate, keep, *ratios)
        keep //= 2


def recommended(offered: Sequence[Choice]) -> Choice | None:
    """The last of the choices, from P = 0 on, each of which is worth more than the one before it."""
    used = offered[0]
    for choice in offered[1:]:
        if choice.keep < LEAST_KEPT or choice.allocated < used.allocated * (FURTHER if used.rate else WORTH):
            break
        used = choice
    return used if used.rate else None


def advise(facts: Facts) -> Advice:
    """The choices and a plain sentence."""
    offered = tuple(choices(facts.split, facts.rollout_n, facts.most))
    use, limit = recommended(offered), min(facts.split.limit, facts.most)
    return Advice(offered, limit, use, _use(facts, use) if use else _do_not(facts, offered))


def _use(facts: Facts, use: Choice) -> str:
    phase, share = _largest_fixed(facts)
    return (
        f"Use P = {use.written} (cppo.pruning_rate={use.written}): about {use.allocated:.2f}x as fast with allocation, "
        f"{use.pruning_only:.2f}x by pruning only. {phase.capitalize()}, {percent(share)} of the step, stays as it is."
    )


def _do_not(facts: Facts, offered: Sequence[Choice]) -> str:
    within = [choice for choice in offered[1:] if choice.keep >= LEAST_KEPT]
    if not within:
        return f"Do not prune: of G = {facts.rollout_n} completions fewer than {LEAST_KEPT} would be left."
    phase, share = _largest_fixed(facts)
    ends = within[:1] + within[1:][-1:]
    ratios = " and ".join(f"{choice.allocated:.2f}x at P = {choice.written}" for choice in ends)
    return (
        f"Do not prune: {phase} is {percent(share)} of the step and stays as it is, so that {ratios} is all there is."
    )


def _largest_fixed(facts: Facts) -> tuple[str, float]:
    """What bounds the ratio, and its share of the step."""
    if facts.most < facts.split.limit:
        return "sampling, beside the training,", 1 / facts.most
    phase = max((name for name in facts.split.seconds if name not in SHRINKING), key=facts.split.share)
    return "what no timer shows" if phase == "other" else phase, facts.split.share(phase)


def percent(share: float) -> str:
    """`80 %` for 0.8."""
    return f"{100 * share:.0f} %"

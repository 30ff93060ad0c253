"""What should alarm whoever trains: in a line, once a run; what is not finite ends the run."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

CUT, LEAST, MOST = "response_length/clip_ratio", "critic/rewards/min", "critic/rewards/max"
"""verl's metrics of a step: the share of its completions that are as long as allowed, and the range of its rewards."""
CLIPPED = "cppo/updates_clipped"
"""Share of a step's updates whose gradient was clipped."""
EQUAL_STEPS = 3
"""Steps in a row, all of whose rewards are equal, before it alarms."""
CLIPPED_STEPS = 10
"""Steps over which the share of clipped updates is taken."""


LARGEST_KL = 5.0
"""Nats per token, from the policy before the step or from the reference: a token's probability changed 150-fold. What
is learned changes it by hundredths in a step, and seldom by more than 1 in a run."""
KLS = "actor/ppo_kl", "actor/kl_loss"
"""verl's metrics of it; the second is a mean over tokens only where the loss is one."""


class NotFinite(RuntimeError):
    """The gradient, the loss or a weight is infinite or not a number, or the policy is another one: the model is lost,
    or would be."""


class Alarms:
    """Is given each step's metrics; says what is wrong, each kind once.

    Args:
        max_response_length: At which completions are cut, in tokens.
        clip_grad: Norm above which a gradient is clipped; None where it is not known.
    """

    def __init__(self, max_response_length: int, clip_grad: float | None):
        self._limit, self._clip = max_response_length, clip_grad
        self._kinds = [self._cut, self._equal, self._clipped]
        self._steps: deque[tuple[int, Mapping[str, float]]] = deque(maxlen=max(EQUAL_STEPS, CLIPPED_STEPS))

    def of(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        """Sentences on what this step, or this one with those before it, should alarm with."""
        self._steps.append((step, metrics))
        raised = {kind: text for kind in self._kinds if (text := kind())}
        self._kinds = [kind for kind in self._kinds if kind not in raised]
        return list(raised.values())

    def _cut(self) -> str | None:
        step, metrics = self._steps[-1]
        if (share := metrics.get(CUT, 0)) <= 0.5:
            return None
        return (
            f"{share:.0%} of the completions of step {step} were cut at data.max_response_length={self._limit}, most "
            "of them without an answer: raise it, or look for completions that never end"
        )

    def _equal(self) -> str | None:
        last = list(self._steps)[-EQUAL_STEPS:]
        ranges = [(metrics.get(LEAST, math.nan), metrics.get(MOST, math.inf)) for _, metrics in last]
        if len(last) < EQUAL_STEPS or any(least != most for least, most in ranges):
            return None
        return (
            f"all rewards of step {last[-1][0]} are {ranges[-1][0]:g}, and those of the {EQUAL_STEPS - 1} steps before "
            "it were equal too: nothing is learned. Does the reward function understand the completions?"
        )

    def _clipped(self) -> str | None:
        shares = [metrics[CLIPPED] for _, metrics in self._steps if CLIPPED in metrics]
        if len(shares) < CLIPPED_STEPS or (mean := sum(shares) / len(shares)) <= 0.5:
            return None
        return (
            f"the gradient was clipped in {mean:.0%} of the updates of the last {len(shares)} steps "
            f"(actor_rollout_ref.actor.optim.clip_grad={self._clip:g}): lower the learning rate, or raise the limit"
        )


def share_clipped(norms: float | Sequence[float], clip_grad: float | None) -> dict[str, float]:
    """`cppo/updates_clipped`, of the gradient norms of a step's updates (before they are clipped); empty where they
    or the limit are not known."""
    norms = list(norms) if isinstance(norms, Sequence) else [norms]
    if not norms or clip_grad is None:
        return {}
    return {CLIPPED: sum(norm > clip_grad for norm in norms) / len(norms)}


def check_finite(step: int, metrics: Mapping[str, float], *, mean_loss: bool = True) -> None:
    """
    Args:
        step: Number of the step.
        metrics: Its metrics.
        mean_loss: A completion's loss is a mean over tokens, not a sum.

    Raises:
        NotFinite: A gradient norm or a loss of the actor or the critic is not finite, or a KL divergence is far too
            large.
    """
    parts = {name: name.split("/") for name in metrics}
    learning = [name for name, (of, *rest) in parts.items() if of in ("actor", "critic") and _is_learning(rest)]
    if wrong := [f"{name} is {metrics[name]}" for name in learning if not math.isfinite(metrics[name])]:
        raise NotFinite(f"step {step}: {', '.join(wrong)}. {_ADVICE}")
    for name in KLS if mean_loss else KLS[:1]:
        if abs(metrics.get(name, 0.0)) > LARGEST_KL:
            found = f"{name} is {metrics[name]:.3g} nats per token"
            raise NotFinite(f"step {step}: {found}: this is another policy than before. {_ADVICE}")


def weights_not_finite(step: int, names: Sequence[str]) -> NotFinite:
    """The error for weights of these names."""
    return NotFinite(f"{in_words(step, names)}. {_ADVICE}")


def in_words(step: int, names: Sequence[str]) -> str:
    """That weights of these names are not finite."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"step {step}: weights are not finite: {', '.join(names[:3])}{more}"


def _is_learning(name: Sequence[str]) -> bool:
    return len(name) == 1 and (name[0] == "grad_norm" or name[0].endswith("loss"))


_ADVICE = (
    "No checkpoint of it was saved. The same command would fail again: lower the learning rate, or look "
    "for rewards that are not finite"
)

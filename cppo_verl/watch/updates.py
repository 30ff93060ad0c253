"""Whether a run trains at all: steps may be left without a completion to train on."""

from __future__ import annotations

from collections.abc import Mapping

from cppo_verl.watch.alarms import EQUAL_STEPS, LEAST, MOST

UPDATED = "actor/grad_norm"
"""Every update logs it."""


class NoUpdate(RuntimeError):
    """Several steps in a row, or all of a run, have updated nothing: going on would only sample."""


class Updates:
    """Is given each step's metrics; ends a run whose steps update nothing.

    Args:
        is_new: The run starts from the beginning, not from a checkpoint.
    """

    def __init__(self, *, is_new: bool):
        self._has_updated, self._idle = not is_new, 0

    def check(self, step: int, metrics: Mapping[str, float]) -> None:
        """
        Raises:
            NoUpdate: This step and the `EQUAL_STEPS - 1` before it, or all of a run that is over, have updated nothing.
        """
        if UPDATED in metrics:
            self._has_updated, self._idle = True, 0
            return
        self._idle += 1
        is_over = bool(metrics.get("cppo/last_step")) and not self._has_updated
        if self._idle >= EQUAL_STEPS or is_over:
            first = step - self._idle + 1
            steps = f"steps {first} to {step}" if first < step else f"step {step}"
            raise NoUpdate(f"{steps} updated nothing: {_cause(metrics)}")


def _cause(metrics: Mapping[str, float]) -> str:
    if metrics.get("cppo/completions_kept"):
        return (
            "algorithm.rollout_correction.rollout_rs rejected their completions. Raise rollout_rs_threshold, or find "
            "out why the trainer's log-probs differ from the rollout's (rollout_corr/*)"
        )
    equal = metrics.get(LEAST) == metrics.get(MOST) and LEAST in metrics
    last = f" (those of the last step are {metrics[LEAST]:g})" if equal else ""
    return (
        f"no question's completions had different rewards{last}, and cppo.zero_variance=drop trains on no others. Does "
        "the reward function understand the completions? Are the questions too hard, or all solved? "
        "cppo.max_gen_rounds is how often others are asked"
    )

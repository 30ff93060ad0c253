"""A step's metrics once more, from the completions that it sampled and those that it trained on, in plain Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import NamedTuple

EPSILON = 1e-6
"""verl's, added to the standard deviation of a question's rewards."""
KEPT_TIMES = ("ref", "update_actor", "update_critic", "values")


@dataclass(frozen=True)
class Completion:
    """One sampled completion."""

    question: str
    prompt: tuple[int, ...]
    response: tuple[int, ...]
    reward: float
    reported: Mapping[str, object]
    """What else the reward function says of it."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Prompt and response."""
        return self.prompt + self.response


class Limits(NamedTuple):
    """What a run allows."""

    prompt: int
    response: int
    devices: int


def recomputed(
    sampled: Sequence[Completion], trained: Sequence[tuple[int, ...]], logged: Mapping[str, float], limits: Limits
) -> dict[str, float]:
    """Every metric of a step that follows from its rows.

    Args:
        sampled: All completions, in the order of the dump.
        trained: Tokens of each that was trained on, in any order.
        logged: The step's metrics, of which only the times (`timing_s/*`) are read.
        limits: The run's.
    """
    advantage = group_advantages(sampled)
    kept, pruned = split(sampled, trained)
    every = range(len(sampled))
    found: dict[str, float] = {
        "cppo/questions": len({row.question for row in sampled}),
        "cppo/completions_sampled": len(sampled),
        "cppo/completions_kept": len(kept),
        "cppo/kept_fraction": len(kept) / len(sampled),
        "cppo/tokens_sampled": sum(len(row.tokens) for row in sampled),
        "cppo/tokens_trained": sum(len(sampled[i].tokens) for i in kept),
        "cppo/zero_variance_questions": len(flat_questions(sampled)),
    }
    found["perf/total_num_tokens"] = found["cppo/tokens_sampled"]
    if kept:
        found["cppo/kept/positive_advantage_share"] = mean(advantage[i] > 0 for i in kept)
    for name, rows in (("sampled", every), ("kept", kept), ("pruned", pruned)):
        found |= {f"cppo/{name}/{key}": value for key, value in means(sampled, advantage, rows).items()}
    found |= kinds(sampled, kept)
    found |= {f"cppo/outcomes/{n}": k for n, k in Counter(_column(sampled, "outcome")).items()}
    return (
        found | of_lengths(sampled, limits) | of_rewards(sampled, advantage) | of_times(sampled, kept, logged, limits)
    )


def group_advantages(sampled: Sequence[Completion]) -> list[float]:
    """A of each completion over all G of its question (paper Eq. 2)."""
    groups: dict[str, list[float]] = {}
    for row in sampled:
        groups.setdefault(row.question, []).append(row.reward)
    return [(row.reward - mean(g)) / (stdev(g) + EPSILON) for row in sampled for g in [groups[row.question]]]


def flat_questions(sampled: Sequence[Completion]) -> set[str]:
    """Those whose rewards are all equal."""
    rewards: dict[str, set[float]] = {}
    for row in sampled:
        rewards.setdefault(row.question, set()).add(row.reward)
    return {question for question, values in rewards.items() if len(values) == 1}


def split(sampled: Sequence[Completion], trained: Iterable[tuple[int, ...]]) -> tuple[list[int], list[int]]:
    """Positions of what was trained on, and of the rest.

    Raises:
        AssertionError: Something was trained on that was not sampled.
    """
    left = Counter(trained)
    kept = []
    for position, row in enumerate(sampled):
        if left[row.tokens]:
            left[row.tokens] -= 1
            kept.append(position)
    assert not +left, "trained on what was not sampled"
    return kept, sorted(set(range(len(sampled))) - set(kept))


def means(sampled: Sequence[Completion], advantage: Sequence[float], rows: Sequence[int]) -> dict[str, float]:
    """Mean reward, accuracy, response length and |A|, of no rows nothing."""
    columns: dict[str, Callable[[int], float]] = {
        "reward": lambda i: sampled[i].reward,
        "response_length": lambda i: len(sampled[i].response),
        "abs_advantage": lambda i: abs(advantage[i]),
    }
    if "acc" in sampled[0].reported:
        columns["accuracy"] = lambda i: float(sampled[i].reported["acc"])
    return {name: mean(map(column, rows)) for name, column in columns.items()} if rows else {}


def kinds(sampled: Sequence[Completion], kept: Sequence[int]) -> dict[str, int]:
    """The four kinds of completion (paper Table 3)."""
    if not {"acc", "format"} <= sampled[0].reported.keys():
        return {}
    words = {True: "right", False: "wrong"}
    found = {
        f"cppo/kinds/format_{layout}_answer_{answer}/{rows}": 0
        for layout in words.values()
        for answer in words.values()
        for rows in ("sampled", "kept")
    }
    for position, row in enumerate(sampled):
        kind = f"format_{words[float(row.reported['format']) > 0]}_answer_{words[float(row.reported['acc']) > 0]}"
        found[f"cppo/kinds/{kind}/sampled"] += 1
        found[f"cppo/kinds/{kind}/kept"] += position in kept
    return found


def of_lengths(sampled: Sequence[Completion], limits: Limits) -> dict[str, float]:
    """Of prompts and responses, in tokens."""
    prompts, responses = [len(row.prompt) for row in sampled], [len(row.response) for row in sampled]
    filled = [length for length in responses if length]
    return {
        **summary("prompt_length", prompts, limits.prompt),
        **summary("response_length", responses, limits.response),
        **summary("response_length_non_aborted", filled, limits.response),
        "response/aborted_ratio": mean(length == 0 for length in responses),
    }


def of_rewards(sampled: Sequence[Completion], advantage: Sequence[float]) -> dict[str, float]:
    """Of rewards, a completion each, and of advantages, a token each."""
    rewards = [row.reward for row in sampled if row.response]
    tokens = [a for a, row in zip(advantage, sampled, strict=True) for _ in row.response]
    columns = {"score": rewards, "rewards": rewards, "advantages": tokens, "returns": tokens}
    return {key: value for name, column in columns.items() for key, value in summary(f"critic/{name}", column).items()}


def of_times(
    sampled: Sequence[Completion], kept: Sequence[int], logged: Mapping[str, float], limits: Limits
) -> dict[str, float]:
    """Seconds per token and tokens per second, from the seconds of each stage."""
    seconds = {key.removeprefix("timing_s/"): value for key, value in logged.items() if key.startswith("timing_s/")}
    tokens = sum(len(row.tokens) for row in sampled)
    per_stage = {"gen": sum(len(row.response) for row in sampled), "adv": tokens}
    per_stage |= dict.fromkeys(KEPT_TIMES, sum(len(sampled[i].tokens) for i in kept))
    step = seconds["step"]
    found = {"perf/time_per_step": step, "perf/throughput": tokens / (step * limits.devices)}
    return found | {
        f"timing_per_token_ms/{stage}": 1000 * seconds[stage] / count
        for stage, count in per_stage.items()
        if stage in seconds and count
    }


def summary(name: str, values: Sequence[float], limit: int | None = None) -> dict[str, float]:
    """Mean, extremes and, with a limit, the share that reaches it."""
    found = {f"{name}/mean": mean(values), f"{name}/max": max(values), f"{name}/min": min(values)}
    return found if limit is None else found | {f"{name}/clip_ratio": mean(value == limit for value in values)}


def _column(sampled: Sequence[Completion], name: str) -> list[object]:
    return [row.reported[name] for row in sampled if name in row.reported]

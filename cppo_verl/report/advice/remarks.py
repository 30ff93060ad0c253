"""What else the log says that would make a step shorter, or the numbers other than they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cppo_verl.report.advice.facts import Facts
from cppo_verl.report.advice.model import Choice, percent

MAIN = 0.5
"""Share of a step from which a phase is what to work on."""
LARGE = 0.1
"""Share of a step from which a smaller phase is worth a word."""
FEW_STEPS = 5
"""Fewer are few to take a mean of."""
LONG_TAIL = 3
"""The longest response over the mean, from which the step waits for few."""
TRUNCATED = 0.05
"""Share of truncated responses from which a shorter limit would cost answers."""
MANY_FLAT = 0.2
"""Share of questions of equal rewards from which dropping them is worth a word."""


def remarks(facts: Facts, use: Choice | None) -> list[str]:
    """A sentence or two each, the largest phases first."""
    said = [remark for say in SAYS for remark in say(facts)]
    return [*said, _updates(use)] if use else said


def _generation(facts: Facts) -> Iterator[str]:
    if facts.split.share("generation") < MAIN:
        return
    if not facts.overlapped:
        yield (
            "Generation: mode=separate_async samples on devices of its own while the others train; a step takes the "
            "longer of the two, not their sum."
        )
    yield (
        "Generation: more completions at once (actor_rollout_ref.rollout.max_num_seqs, gpu_memory_utilization), more "
        "engines (more devices, or a smaller tensor_model_parallel_size)."
    )
    yield f"Generation: {_lengths(facts)}"
    yield (
        "Generation: fewer completions per question (actor_rollout_ref.rollout.n); G = 2 is reported to come close to "
        "G = 16 (arXiv 2510.00977)."
    )


def _lengths(facts: Facts) -> str:
    if (facts.truncated or 0) >= TRUNCATED:
        cut = percent(facts.truncated)
        return (
            f"{cut} of the responses end at data.max_response_length; a lower one is faster and cuts off more answers."
        )
    if (facts.tail or 0) >= LONG_TAIL:
        return (
            f"a step waits for its longest response, of {facts.tail:.1f} times the mean's tokens. A lower "
            "data.max_response_length, or trainer.v1.trainer_mode=cppo_colocate_async, which carries it over."
        )
    return "shorter responses (data.max_response_length, or a reward for brevity)."


def _overlapped(facts: Facts) -> Iterator[str]:
    if facts.overlapped:
        busy = facts.engine_busy
        most = f": they are busy for {percent(busy)} of the time, which allows {facts.most:.2f}x" if busy else ""
        yield (
            "This run samples while it trains: its generation is what the trainer waited. Pruning helps until the "
            f"engines cannot follow{most}."
        )


def _room(facts: Facts) -> Iterator[str]:
    if facts.overlapped or None in (facts.batch, facts.concurrent):
        return
    sampled = facts.batch * facts.rollout_n
    if sampled < facts.concurrent:
        yield (
            f"Allocation may gain more than this: a step samples {sampled} completions and an engine takes "
            f"{facts.concurrent} at once, so that it is fuller with more questions."
        )


def _reward(facts: Facts) -> Iterator[str]:
    share, faster = facts.split.share("reward"), "A quicker reward function, or more processes (reward.num_workers)."
    if share >= LARGE:
        yield f"Reward: {percent(share)} of the step, after the last completion. {faster}"
    if (facts.scoring or 0) >= LARGE * facts.split.total:
        yield f"Reward: a step's slowest completion is scored for {facts.scoring:.1f} s, a part of generation. {faster}"


def _old_log_prob(facts: Facts) -> Iterator[str]:
    seconds, share = facts.split.seconds["old log-prob"], facts.split.share("old log-prob")
    if share < LARGE / 2 or (facts.updates or 1) > 1:
        return
    where = "" if facts.updates else " if a step is one update (ppo_epochs=1, ppo_mini_batch_size=train_batch_size)"
    yield f"Old log-prob: {percent(share)} of the step. cppo.skip_old_log_prob=true saves its {seconds:.2f} s{where}."


def _flat(facts: Facts) -> Iterator[str]:
    if MANY_FLAT <= (facts.flat or 0) < 1:
        yield (
            f"Zero variance: {percent(facts.flat)} of the questions have equal rewards and teach nothing. "
            f"cppo.zero_variance=drop gives their room to others, for {1 / (1 - facts.flat):.1f} times the sampling."
        )


def _weight_sync(facts: Facts) -> Iterator[str]:
    if (share := facts.split.share("weight sync")) >= LARGE:
        yield (
            f"Weight sync: {percent(share)} of the step, whatever its size. A larger data.train_batch_size pays it "
            "less often, and so does allocation (in the ratios above)."
        )


def _other(facts: Facts) -> Iterator[str]:
    if (share := facts.split.share("other")) >= LARGE:
        yield (
            f"Other: {percent(share)} of the step is under no timer: the driver's own work, and the generations that "
            "it writes to trainer.rollout_data_dir."
        )


def _few(facts: Facts) -> Iterator[str]:
    if facts.steps < FEW_STEPS:
        yield f"The split is the mean of {facts.steps} step(s): a longer log says more."


def _updates(use: Choice) -> str:
    return (
        "Updates: an epoch has as many optimiser updates as GRPO's; with cppo.mini_batch=completions, as in the "
        f"recipes of the published table, it has {1 - use.rate} of them, and loses accuracy at high P."
    )


SAYS: tuple[Callable[[Facts], Iterator[str]], ...] = (
    *(_generation, _overlapped, _room, _reward, _old_log_prob, _flat, _weight_sync, _other, _few),
)

"""What a run samples and trains on is the same whether a question is asked for by one request or by G, and whether it
is pruned where it was sampled or in the trainer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from recorded import different, read_metrics, weights
from runs import running, trainer

from cppo_verl.trainer.group.requests import ONE_BY_ONE

G, KEPT, QUESTIONS, STEPS = 4, 1, 16, 2
"""Completions per question, those that are kept, questions per step, and steps."""
TIMES = re.compile(r"timing_|perf/(throughput|time_per_step|mfu|max_memory|cpu_memory)|(actor|critic)/perf/|cppo/idle/")
"""Metrics that no two runs share."""
GENERATIONS = {"v0": "trainer.use_v1=false", "v1": "trainer.use_v1=true"}
OPTIONS = {
    "allocation": (),
    "dropped": ("cppo.zero_variance=drop", "cppo.max_gen_rounds=3"),
    "unbiased": ("cppo.metric=unbiased",),
}
VERLS_LOOP = f"actor_rollout_ref.rollout.agent.default_agent_loop={ONE_BY_ONE}"


@pytest.fixture(scope="module")
def run(repo, prefork, toy, tmp_path_factory) -> Callable[..., Path]:
    """`run("v0", dumps, options, *overrides)`: the folder of a run of two steps. Dumps, beside it, need all
    completions: with them all are sent to the trainer."""
    base = tmp_path_factory.mktemp("sampling")
    with running(repo, prefork) as runner:
        train = trainer(runner, toy, base)

        @cache
        def start(generation: str, dumps: bool, options: str, *overrides: str) -> Path:
            name = "_".join((generation, "in_trainer" if dumps else "there", options, *("other" for _ in overrides)))
            return train(
                name,
                *(GENERATIONS[generation], *OPTIONS[options], f"cppo.pruning_rate={1 - KEPT / G}"),
                *(f"trainer.save_freq={STEPS}", "trainer.test_freq=-1", "trainer.balance_batch=false"),
                "actor_rollout_ref.rollout.calculate_log_probs=true",
                *([f"trainer.rollout_data_dir={base}/{name}_rollouts"] if dumps else []),
                *overrides,
            ).folder

        yield start


@pytest.mark.parametrize(
    "options", ["allocation", *(pytest.param(name, marks=pytest.mark.slow) for name in OPTIONS if name != "allocation")]
)
@pytest.mark.parametrize("generation", GENERATIONS)
def test_pruned_there_or_in_the_trainer_the_weights_are_the_same(run, generation, options):
    there, in_trainer = run(generation, False, options), run(generation, True, options)
    assert not different(weights(there, STEPS), weights(in_trainer, STEPS))
    found, expected = read_metrics(there), read_metrics(in_trainer)
    assert found.keys() == expected.keys()
    for step in (1, 2):
        few, many = (steps[step].pop("cppo/bytes_sent") for steps in (found, expected))
        dropped = options == "dropped"
        assert few < many if dropped or generation == "v1" else few == many * KEPT / G
        assert untimed(found[step]) == pytest.approx(untimed(expected[step]), abs=1e-6), step


@pytest.mark.parametrize("generation", GENERATIONS)
def test_together_or_one_by_one_the_same_is_sampled_and_trained(run, generation):
    one_by_one, together = run("v0", True, "allocation", VERLS_LOOP), run(generation, True, "allocation")
    expected = sampled(one_by_one)
    assert len(expected) == STEPS * QUESTIONS * G
    assert sampled(together) == expected
    assert not different(weights(one_by_one, STEPS), weights(together, STEPS))


def sampled(folder: Path) -> list[tuple]:
    """The completions in a run's dumps, in an order of their own."""
    dumps = sorted(folder.with_name(f"{folder.name}_rollouts").glob("*.jsonl"))
    rows = [json.loads(line) for dump in dumps for line in dump.open()]
    return sorted((row["step"], row["input"], row["output"], row["score"]) for row in rows)


def untimed(metrics: dict) -> dict:
    return {name: value for name, value in metrics.items() if not TIMES.match(name)}

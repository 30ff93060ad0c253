"""What a run trains on is the same whether its questions are pruned where they are sampled or in the trainer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from recorded import different, read_metrics, weights

G, KEPT = 4, 1
TIMES = re.compile(r"timing_|perf/(throughput|time_per_step|mfu|max_memory|cpu_memory)|(actor|critic)/perf/|cppo/idle/")
"""Metrics that no two runs share."""
GENERATIONS = {"v0": "trainer.use_v1=false", "v1": "trainer.use_v1=true"}
OPTIONS = {
    "allocation": (),
    "dropped": ("cppo.zero_variance=drop", "cppo.max_gen_rounds=3"),
    "unbiased": ("cppo.metric=unbiased",),
}


@pytest.mark.parametrize(
    "options", ["allocation", *(pytest.param(name, marks=pytest.mark.slow) for name in OPTIONS if name != "allocation")]
)
@pytest.mark.parametrize("generation", GENERATIONS)
def test_pruned_there_or_in_the_trainer_the_weights_are_the_same(train, tmp_path, generation, options):
    """Dumps need all completions: with them all are sent to the trainer."""

    def run(name: str, *overrides: str) -> Path:
        return train(
            name,
            *(GENERATIONS[generation], *OPTIONS[options], f"cppo.pruning_rate={1 - KEPT / G}"),
            *("trainer.save_freq=2", "trainer.test_freq=-1", "trainer.balance_batch=false"),
            *overrides,
        ).folder

    there, in_trainer = run("there"), run("in_trainer", f"trainer.rollout_data_dir={tmp_path}/rollouts")
    assert not different(weights(there, 2), weights(in_trainer, 2))
    found, expected = read_metrics(there), read_metrics(in_trainer)
    assert found.keys() == expected.keys()
    for step in (1, 2):
        few, many = (steps[step].pop("cppo/bytes_sent") for steps in (found, expected))
        dropped = options == "dropped"
        assert few < many if dropped or generation == "v1" else few == many * KEPT / G
        assert untimed(found[step]) == pytest.approx(untimed(expected[step]), abs=1e-6), step


def untimed(metrics: dict) -> dict:
    return {name: value for name, value in metrics.items() if not TIMES.match(name)}

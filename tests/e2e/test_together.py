"""A question's completions are the same whether they are asked for together or one by one, on both generations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recorded import different, weights

from cppo_verl.trainer.group.requests import ONE_BY_ONE

VERLS_LOOP = f"actor_rollout_ref.rollout.agent.default_agent_loop={ONE_BY_ONE}"
V1 = "trainer.use_v1=true"


@pytest.fixture
def sample(train, tmp_path):
    """Two steps of CPPO; returns the run's folder and what it sampled."""

    def run(name: str, *overrides: str) -> tuple[Path, list[tuple]]:
        folder = train(
            name,
            *("cppo.pruning_rate=0.5", "trainer.save_freq=2", "trainer.test_freq=-1"),
            *("trainer.balance_batch=false", "actor_rollout_ref.rollout.calculate_log_probs=true"),
            f"trainer.rollout_data_dir={tmp_path}/{name}_rollouts",
            *overrides,
        ).folder
        rows = [json.loads(line) for step in (1, 2) for line in (tmp_path / f"{name}_rollouts/{step}.jsonl").open()]
        return folder, sorted((row["step"], row["input"], row["output"], row["score"]) for row in rows)

    return run


def test_together_or_one_by_one_the_same_is_sampled_and_trained(sample):
    one_by_one, expected = sample("one_by_one", VERLS_LOOP)
    assert len(expected) == 2 * 8 * 4
    for name, generation in {"v0": "trainer.use_v1=false", "v1": V1}.items():
        folder, found = sample(name, generation)
        assert found == expected, name
        assert not different(weights(one_by_one, 2), weights(folder, 2)), name


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["cppo_colocate_async", "cppo_separate_async"])
def test_aborted_questions_go_on(train, mode):
    """The asynchronous trainers abort what is being sampled for new weights; nothing is lost, and steps are full."""
    engine = ("mode=separate_async",) if mode == "cppo_separate_async" else ()
    run = train(mode, *engine, V1, f"trainer.v1.trainer_mode={mode}", "trainer.total_training_steps=4")
    steps = [json.loads(line)["data"] for line in (run.folder / "metrics.jsonl").open()]
    sampled = [step["cppo/completions_sampled"] for step in steps if "cppo/completions_sampled" in step]
    assert len(sampled) == 4 and len(set(sampled)) == 1

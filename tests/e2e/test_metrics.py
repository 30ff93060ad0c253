"""What a step logs, against the docs' table and against the rows that it sampled and trained on, at P = .75."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from metrics_table import lines, lines_of
from recomputed import Completion, Limits, recomputed
from recorded import of_kind, read_calls, read_metrics

from cppo_verl.trainer.rollout_seed import hashed

GENERATIONS = {"v0": "trainer.use_v1=false", "v1": "trainer.use_v1=true"}
SEED, G, PROMPT, RESPONSE = 0, 4, 64, 64
"""`cppo.rollout_seed` and completions per question of a small run; the longest prompt and response, in tokens."""
STEPS = "{pruning_rate:0.75,allocation:true}", "{pruning_rate:0.75,allocation:false}"
NOT_FROM_ROWS = {
    r"timing_s/.*|perf/mfu/.*|(actor|critic)/perf/.*|cppo/idle/.*": "times and memory, of nothing that is kept",
    r"actor/.*|cppo/(updates_clipped|pg_clipfrac/\d)": "the update, which is compared with Eq. 9 in test_step.py",
    r"cppo/bytes_sent": "of tensors on their way, which are not recorded; see test_sampling.py",
    r"cppo/(padding|fill)/.*|global_seqlen/.*": "of ranks and micro-batches, which are not recorded",
    r"cppo/(planned_steps|updates(_per_epoch)?|last_step|rounds|surplus)|training/(global_step|epoch)": "the plan",
    r"cppo/(replaced|in_flight|unused)_questions": "the queue",
    r"cppo/(best|validation)/.*|val-(core|aux)/.*": "validations, whose rows are in a dump of their own",
    r"(training/)?num_turns/.*|training/off_policy/.*": "tags of the agent loop, which are not dumped",
    r"rollout_corr/.*|training/rollout_.*": "log-probs of the trained rows; below",
}
"""Keys that `recomputed` does not give, and why."""


@pytest.mark.parametrize("generation", GENERATIONS)
def test_each_number_is_of_the_rows_that_the_table_says(generation, train, tmp_path):
    loops = tmp_path / "loops.yaml"
    loops.write_text("- name: replaying\n  _target_: replaying.ReplayingLoop\n")
    run = train(
        "run",
        *(
            GENERATIONS[generation],
            f"+own.cppo_by_step=[{','.join(STEPS)}]",
            f"trainer.total_training_steps={len(STEPS)}",
        ),
        *(f"data.max_prompt_length={PROMPT}", f"data.max_response_length={RESPONSE}"),
        *("trainer.save_freq=2", "trainer.test_freq=2", "actor_rollout_ref.rollout.calculate_log_probs=true"),
        *(f"trainer.rollout_data_dir={tmp_path}/rollouts", f"+own.completions={tmp_path}/completions"),
        "actor_rollout_ref.rollout.agent.default_agent_loop=replaying",
        f"actor_rollout_ref.rollout.agent.agent_loop_config_path={loops}",
    ).folder

    table, logged = lines(), read_metrics(run)
    updates = of_kind(read_calls(run / "calls/rank_0"), "update")
    assert list(logged) == [1, 2] and len(updates) == len(STEPS)
    for step, update in zip(logged, updates, strict=True):
        metrics, data = logged[step], update["data"]
        assert {key: len(lines_of(key, table)) for key in metrics} == dict.fromkeys(metrics, 1)
        sampled = completions(tmp_path, step)
        trained = [tuple(ids.tolist()) for ids in data["input_ids"]]
        found = recomputed(sampled, trained, metrics, Limits(PROMPT, RESPONSE, devices=1))
        assert found == pytest.approx({key: metrics[key] for key in found}, rel=1e-4, abs=1e-5), f"step {step}"
        rest = metrics.keys() - found.keys()
        assert [key for key in sorted(rest) if not any(re.fullmatch(names, key) for names in NOT_FROM_ROWS)] == []
        assert metrics["cppo/completions_kept"] * 4 == metrics["cppo/completions_sampled"]
        assert_mismatch_is_of_the_trained_rows(data, metrics)


def completions(folder: Path, step: int) -> list[Completion]:
    """All that a step sampled: texts and rewards of the dump, tokens of what the agent loop kept."""
    rows = [json.loads(line) for line in (folder / f"rollouts/{step}.jsonl").open()]
    found = []
    for position, row in enumerate(rows):  # V0 dumps them in the order in which it names them
        name = row.get("row_id", f"{step}:{position // G}:{position % G}")
        question, _, sample = name.rpartition(":")
        seed = hashed(SEED, question) + int(sample)
        output = torch.load(folder / f"completions/seed_{seed}.pt", weights_only=False)
        reported = {key: row[key] for key in ("acc", "format", "outcome") if key in row}
        tokens = tuple(output.prompt_ids), tuple(output.response_ids)
        found.append(Completion(question, *tokens, row["score"], reported))
    return found


def assert_mismatch_is_of_the_trained_rows(data: dict, metrics: dict) -> None:
    """The mean difference between the trainer's and the engine's log-probs, over the tokens trained on."""
    difference = [
        (old - rollout)[mask.bool()]
        for old, rollout, mask in zip(
            data["old_log_probs"], data["rollout_log_probs"], data["response_mask"], strict=True
        )
    ]
    assert metrics["rollout_corr/kl"] == pytest.approx(-torch.cat(difference).mean().item(), abs=1e-5)

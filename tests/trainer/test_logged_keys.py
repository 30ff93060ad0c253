"""Each key that a step logs has one line in `docs/metrics.md`, and what can be recomputed from a step's rows is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from metrics_table import lines, lines_of
from omegaconf import OmegaConf
from recomputed import Completion, Limits, recomputed
from verl import DataProto

from cppo_verl.algorithm.metrics import KINDS, OTHER
from cppo_verl.rewards.result import Outcome
from cppo_verl.trainer.sampling import sampling_metrics
from cppo_verl.trainer.stages import data_metrics, outcome_advantages, timing_metrics

LOGGED = (Path(__file__).parent / "logged_keys.txt").read_text().split()
"""Of recorded runs: GRPO, CPPO and PPO on V0, CPPO on V1, synchronous and asynchronous; and what some options add."""
DATA_SOURCE = "cppo/word_problems"
"""Begins as our metrics do, and is none."""
G, PROMPT, RESPONSE = 4, 3, 6
TIMES = {"step": 8.0, "gen": 4.0, "adv": 0.25, "ref": 0.5, "update_actor": 2.0}


@pytest.fixture(scope="module")
def table():
    return lines()


@pytest.mark.parametrize("key", LOGGED)
def test_a_logged_key_has_one_line(key, table):
    assert len(lines_of(key, table)) == 1


def test_a_line_has_a_unit_and_says_of_which_rows_it_is(table):
    assert len({line.name for line in table}) == len(table)
    for line in table:
        assert line.unit, line.name
        assert set(line.rows.replace(" on V0", "").replace(" on V1", "").split(", ")) <= {
            *("sampled", "kept", "pruned", "validated", "—")
        }, line.name


def test_a_line_has_one_unit_or_one_for_each_of_its_names(table):
    for line in table:
        choices = [len(names.split(",")) for names in re.findall(r"\{([^}]*)\}", line.name)]
        assert len(line.unit.split(", ")) in (1, *choices), line.name


def test_each_name_of_ours_in_the_code_has_a_line(repo, table):
    """Also those that no recorded run logged; a new metric without a line fails here."""
    names = {key for line in table for key in line.keys}
    for path, text in texts(repo / "cppo_verl"):
        head = text.partition("{")[0]
        assert any(name.startswith(head) or head.startswith(name.split("NAME")[0]) for name in names), f"{path}: {text}"


def test_each_line_of_ours_is_in_the_code(repo, table):
    written = [text.partition("{")[0] for _, text in texts(repo / "cppo_verl")]
    for key in (key for line in table for key in line.keys if key.startswith("cppo/")):
        assert any(key == head or (key.startswith(head) and head.endswith("/")) for head in written), key


def test_each_outcome_of_ours_is_named(table):
    (line,) = (line for line in table if line.name == "cppo/outcomes/NAME")
    assert [word for word in (*get_args(Outcome), OTHER) if f"`{word}`" not in line.meaning] == []


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Files and their texts that begin with `cppo/`; of an f-string, what is filled in as `{}`."""
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text())
        inner = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inner:
                text = node.value
            else:
                continue
            if text.startswith("cppo/") and " " not in text and text not in ("cppo/", DATA_SOURCE):
                yield path.name, text


def made_up(questions: int) -> list[Completion]:
    """G completions of each of so many questions; the rewards of the first question are all equal."""
    draw = np.random.default_rng(7)
    return [
        Completion(
            question=f"1:{question}",
            prompt=tuple(draw.integers(9, 99, 1 + question % PROMPT).tolist()),
            response=tuple(draw.integers(9, 99, draw.integers(1, RESPONSE + 1)).tolist()),
            reward=1.0 if not question else float(right + layout),
            reported={"acc": right, "format": layout, "outcome": "equal" if right else "different"},
        )
        for question in range(questions)
        for right, layout in draw.integers(0, 2, (G, 2)).tolist()
    ]


def as_batch(rows: list[Completion]) -> DataProto:
    """The same as verl's padded rows: prompts on the left, responses on the right."""
    prompt_mask = torch.tensor([[0] * (PROMPT - len(row.prompt)) + [1] * len(row.prompt) for row in rows])
    response_mask = torch.tensor([[1] * len(row.response) + [0] * (RESPONSE - len(row.response)) for row in rows])
    scores = torch.zeros(len(rows), RESPONSE)
    scores[range(len(rows)), [len(row.response) - 1 for row in rows]] = torch.tensor([row.reward for row in rows])
    columns = {name: [row.reported[name] for row in rows] for name in rows[0].reported}
    return DataProto.from_dict(
        tensors={
            "prompts": torch.zeros(len(rows), PROMPT, dtype=torch.long),
            "responses": torch.zeros(len(rows), RESPONSE, dtype=torch.long),
            "attention_mask": torch.cat([prompt_mask, response_mask], dim=1),
            "response_mask": response_mask,
            "token_level_scores": scores,
            "token_level_rewards": scores,
        },
        non_tensors={name: np.array(column, dtype=object) for name, column in columns.items()}
        | {"uid": np.array([row.question for row in rows], dtype=object)},
    )


@pytest.fixture
def settings():
    rollout = {"n": G}
    algorithm = {"adv_estimator": "grpo", "norm_adv_by_std_in_grpo": True}
    return OmegaConf.create({"algorithm": algorithm, "actor_rollout_ref": {"rollout": rollout}})


def test_recomputed_from_the_rows_it_is_the_same(settings, table):
    """P = .75: one of each question's four completions is kept."""
    from cppo_verl.algorithm.allocation import Allocation

    rows = made_up(questions=6)
    batch = outcome_advantages(as_batch(rows), settings)
    kept = torch.arange(0, len(rows), G) + torch.tensor([0, 1, 2, 3, 0, 1])
    logged = sampling_metrics(batch, Allocation(kept, len(kept), 0, torch.ones(len(kept))), rounds=1)
    trained = batch.select_idxs(kept)
    trained.meta_info = dict(trained.meta_info)
    logged |= data_metrics(batch, trained, None) | timing_metrics(batch, trained, TIMES, devices=2)

    found = recomputed(rows, [rows[i].tokens for i in kept], logged, Limits(PROMPT, RESPONSE, devices=2))

    assert found == pytest.approx({key: logged[key] for key in found}, abs=1e-5)
    told = {key for key in logged if key not in found and not key.startswith("timing_s/")}
    assert told == {"cppo/rounds", "cppo/surplus"}
    assert all(len(lines_of(key, table)) == 1 for key in logged)
    assert {f"cppo/kinds/{kind}/kept" for kind in KINDS} <= found.keys()


def test_a_number_of_other_rows_is_found_out(settings):
    """Tokens of what was kept in place of what was sampled, as an example."""
    rows = made_up(questions=4)
    kept = [row.tokens for row in rows[::G]]
    found = recomputed(rows, kept, {"timing_s/step": 1.0}, Limits(PROMPT, RESPONSE, devices=1))
    assert found["perf/total_num_tokens"] == sum(len(row.tokens) for row in rows) > found["cppo/tokens_trained"]
    with pytest.raises(AssertionError, match="not sampled"):
        recomputed(rows, [(1, 2, 3)], {"timing_s/step": 1.0}, Limits(PROMPT, RESPONSE, devices=1))

"""Chat templates that open a tag in the prompt, or take no system message, through training and evaluation."""

from __future__ import annotations

import json
import sys

import pytest
from chat_templates import CHAT_TEMPLATES, as_override
from recorded import read_metrics
from verl_rows import write_rows

from cppo_verl.data.prompts import ask
from cppo_verl.toy.problems import distinct_problems

REFUSES = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
# Without a line break after the tag: so does the embedded default's model begin its turn.
TEMPLATE = REFUSES + CHAT_TEMPLATES["R1-Distill"].replace("<think>\n", "<think>")
SYSTEM = "Be brief."


@pytest.mark.parametrize("generation", ["trainer.use_v1=false", "trainer.use_v1=true"])
def test_a_template_that_opens_a_tag_and_refuses_a_system_message(train, runner, toy, tmp_path, generation):
    """The tag counts, and the message is the user's, in training, validation and evaluation."""
    asked = [problem.question for problem in distinct_problems("train", 32, 0)]
    rows = write_rows(tmp_path / "rows.parquet", asked, prompt=[ask(text, "tags", SYSTEM) for text in asked])
    run = train(
        *("run", generation, as_override(TEMPLATE), "data.system=fold", "data.filter_overlong_prompts=true"),
        *(f"data.train_files={rows}", f"data.val_files={rows}", "data.val_max_samples=16"),
        f"trainer.rollout_data_dir={tmp_path}/dumps",
        *("trainer.save_freq=2", "trainer.test_freq=1", "trainer.val_before_train=true"),
        "actor_rollout_ref.actor.optim.lr=1e-6",
    )
    assert "opens <think> in the prompt" in run.output
    kinds = ("cppo/kinds/format_right_answer_right/sampled", "cppo/kinds/format_right_answer_wrong/sampled")
    steps = read_metrics(run.folder)
    assert all(sum(steps[step][kind] for kind in kinds) > 0 for step in (1, 2))
    validated = [value for name, value in steps[0].items() if name.startswith("val-") and "/format/" in name]
    assert any(value > 0 for value in validated)
    for line in (tmp_path / "dumps/1.jsonl").read_text().splitlines():
        assert f"user\n{SYSTEM}\n\n" in json.loads(line)["input"]

    command = [sys.executable, "-m", "cppo_verl", "evaluate", "device=cpu", "benchmarks=[toy]"]
    own = (f"+files.toy={rows}", f"model={run.folder}", f"out={tmp_path}/out", "sampling.max_tokens=64")
    evaluated = runner([*command, *own], tmp_path / "evaluation_log")
    assert f"(of {run.folder}/config.yaml)" in evaluated.terminal.replace("\n", "")
    assert json.loads((tmp_path / "out/results.json").read_text())["benchmarks"]["toy"]["format"] > 0

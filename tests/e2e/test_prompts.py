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

# Without a line break after it: so does the embedded default's model begin its turn.
OPENS = CHAT_TEMPLATES["R1-Distill"].replace("<think>\n", "<think>")
TRAINERS = ["trainer.use_v1=false", "trainer.use_v1=true"]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_an_opened_tag_counts_in_training_validation_and_evaluation(train, runner, toy, tmp_path, trainer):
    run = train(
        *("run", trainer, as_override(OPENS), "trainer.save_freq=2", "trainer.test_freq=1"),
        *("trainer.val_before_train=true", "actor_rollout_ref.actor.optim.lr=1e-6"),
    )
    assert "opens <think> in the prompt" in run.output
    kinds = ("cppo/kinds/format_right_answer_right/sampled", "cppo/kinds/format_right_answer_wrong/sampled")
    steps = read_metrics(run.folder)
    assert all(sum(steps[step][kind] for kind in kinds) > 0 for step in (1, 2))
    validated = [value for name, value in steps[0].items() if name.startswith("val-") and "/format/" in name]
    assert any(value > 0 for value in validated)
    command = [
        sys.executable,
        "-m",
        "cppo_verl",
        "evaluate",
        "device=cpu",
        "benchmarks=[toy]",
        "sampling.max_tokens=64",
    ]
    own = (f"+files.toy={toy}/test.parquet", f"model={run.folder}", f"out={tmp_path}/evaluated")
    evaluated = runner([*command, *own], tmp_path / "evaluation_log")
    assert f"(of {run.folder}/config.yaml)" in evaluated.terminal.replace("\n", "")
    assert json.loads((tmp_path / "evaluated/results.json").read_text())["benchmarks"]["toy"]["format"] > 0


@pytest.mark.parametrize("trainer", TRAINERS)
def test_folded_system_messages(train, tmp_path, trainer):
    asked = [problem.question for problem in distinct_problems("train", 32, 0)]
    rows = write_rows(tmp_path / "rows.parquet", asked, prompt=[ask(text, "tags", "Be brief.") for text in asked])
    run = train(
        *("run", trainer, as_override(CHAT_TEMPLATES["Gemma 2"]), "data.system=fold"),
        *(f"data.train_files={rows}", f"data.val_files={rows}", "data.filter_overlong_prompts=true"),
        f"trainer.rollout_data_dir={tmp_path}/dumps",
    )
    assert set(read_metrics(run.folder)) >= {1, 2}
    dumped = json.loads(next((tmp_path / "dumps").glob("*.jsonl")).read_text().splitlines()[0])
    assert "user\nBe brief.\n\n" in dumped["input"]

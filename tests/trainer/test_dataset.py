"""Where a run folds, verl's data set gives folded questions, and leaves none out for its template."""

from __future__ import annotations

import pytest
from chat_templates import write_tokenizer
from omegaconf import OmegaConf
from verl.trainer.ppo.utils import create_rl_dataset
from verl_rows import write_rows

from cppo_verl.data.prompts import GSM8K_SYSTEM, ask
from cppo_verl.trainer.dataset import choose_dataset

QUESTIONS = ["How many are 1?", "How many are 2?"]


@pytest.mark.parametrize("filtered", [True, False])
@pytest.mark.parametrize(("system", "left"), [("fold", 2), ("keep", 0)])
def test_rows_with_a_system_message_under_a_template_without(config, tmp_path, monkeypatch, system, left, filtered):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    asked = [ask(question, "tags", GSM8K_SYSTEM) for question in QUESTIONS]
    rows = write_rows(tmp_path / "rows.parquet", QUESTIONS, prompt=asked)
    c = config("recipe=gsm8k", f"data.system={system}", f"data.filter_overlong_prompts={filtered}")
    OmegaConf.update(c, "data.filter_overlong_prompts_workers", 1)
    choose_dataset(c)
    data = create_rl_dataset(str(rows), c.data, write_tokenizer(tmp_path / "model", "Gemma 2"), None)
    assert len(data) == (left if filtered else 2)
    if system == "fold":
        assert [list(map(dict, row["raw_prompt"])) for row in data] == [
            [{"role": "user", "content": f"{GSM8K_SYSTEM}\n\n{question}"}] for question in QUESTIONS
        ]
        assert data[1]["reward_model"]["ground_truth"] == "4"

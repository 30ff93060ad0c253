"""An evaluation asks as the run was trained: its chat template, what that is given, system messages and style."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from chat_templates import CHAT_TEMPLATES, write_tokenizer
from omegaconf import OmegaConf
from verl_rows import write_model

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.config.compose import compose
from cppo_verl.data.prompt_settings import PromptSettings
from cppo_verl.data.prompts import GSM8K_SYSTEM, ask
from cppo_verl.evaluation.benchmarks import find
from cppo_verl.evaluation.command import CONFIG, plan_requests, settings
from cppo_verl.evaluation.generate import Completion
from cppo_verl.evaluation.models import Model
from cppo_verl.evaluation.prompts import NOTED, choose_settings, note_settings, tokenized
from cppo_verl.evaluation.results import record

ASKED = ["How many are 2 and 2?", "How many are 3 and 1?"]
OWN = {
    "actor_rollout_ref": {"model": {"custom_chat_template": CHAT_TEMPLATES["Qwen3.5"]}},
    "data": {"apply_chat_template_kwargs": {"enable_thinking": False}, "system": "fold", "style": "hash"},
}


@pytest.fixture
def run(tmp_path) -> Path:
    """A run's folder, with a checkpoint and its export."""
    folder = tmp_path / "run"
    export = folder / "global_step_4/huggingface_export"
    export.mkdir(parents=True)
    write_tokenizer(write_model(export, max_position_embeddings=512), "ChatML")
    OmegaConf.save(OmegaConf.create(OWN), folder / "config.yaml")
    return folder


@pytest.fixture
def config(tmp_path):
    """`config(model, "key=value", ...)`: an evaluation on two questions that are asked for in style `tags`."""
    rows = [
        {
            "data_source": "openai/gsm8k",
            "prompt": ask(question, "tags", GSM8K_SYSTEM),
            "reward_model": {"style": "rule", "ground_truth": "4"},
            "extra_info": {"split": "test", "question": question},
        }
        for question in ASKED
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "test.parquet")
    own = ("device=cpu", f"+files.gsm8k={tmp_path}/test.parquet", f"out={tmp_path}/out")
    return lambda model, *overrides: compose([*own, f"model={model}", *overrides], CONFIG, "evaluate")


@pytest.mark.parametrize(
    "named", ["", "best", "global_step_4", "global_step_4/huggingface_export", "best/global_step_4"]
)
def test_the_settings_are_those_of_the_models_run(run, config, named):
    (run / "best/global_step_4").mkdir(parents=True)
    put, told = choose_settings(config(run / named))
    assert put == PromptSettings(CHAT_TEMPLATES["Qwen3.5"], {"enable_thinking": False}, "fold", "hash")
    assert "data.system=fold, data.style=hash" in told and f"(of {run}/config.yaml)" in told
    assert "data.apply_chat_template_kwargs={'enable_thinking': False}" in told


def test_an_export_elsewhere_takes_them_with_it(run, config, tmp_path):
    export = write_model(tmp_path)
    note_settings(run / "global_step_4", export)
    put, told = choose_settings(config(export))
    assert put.system == "fold" and f"(of {export}/{NOTED})" in told


def test_other_models_are_asked_as_they_are_unless_told(run, config, tmp_path):
    plain, told = choose_settings(config("Qwen/Qwen3-0.6B"))
    assert plain == PromptSettings() and told == "prompts: the model's own chat template"
    model = write_model(tmp_path)
    (tmp_path / "config.yaml").write_text("trainer: {}")
    assert choose_settings(config(model))[0] == PromptSettings()
    given = ("+data.apply_chat_template_kwargs.enable_thinking=true", "data.system=keep", "data.style=tags")
    assert choose_settings(config("a/b", *given))[0] == PromptSettings(None, {"enable_thinking": True}, "keep", "tags")
    put, told = choose_settings(config(run, *given))
    assert put == PromptSettings(CHAT_TEMPLATES["Qwen3.5"], {"enable_thinking": True}, "keep", "tags")
    assert "with this evaluation's own options" in told
    with pytest.raises(
        ConfigError, match=r"data\.style='hush' is not one of tags, none, hash, boxed; did you mean hash"
    ):
        choose_settings(config("a/b", "data.style=hush"))


def test_prompts_are_the_runs(run, config):
    c = config(run)
    put, _ = choose_settings(c)
    requests = plan_requests(find("gsm8k"), c, put)
    export = run / "global_step_4/huggingface_export"
    ids, opening = tokenized(str(export), requests, put, max_tokens=64)
    text = write_tokenizer(run / "tokenizer").decode(ids[requests[0].key])
    assert ASKED[0] + " Let's think step by step" in text and "system" not in text
    assert text.endswith("<think>\n\n</think>\n\n") and opening == ""
    thinking = choose_settings(config(run, "+data.apply_chat_template_kwargs.enable_thinking=true"))[0]
    assert tokenized(str(export), requests, thinking, max_tokens=64)[1] == "<think>\n"
    with pytest.raises(ConfigError, match=r"beyond the model's context of 512; sampling\.max_tokens=\d+ fits"):
        tokenized(str(export), requests, put, max_tokens=512)


def test_a_style_has_its_own_reward(run, config):
    c = config(run)
    hashed = plan_requests(find("gsm8k"), c, choose_settings(c)[0])
    plain = plan_requests(find("gsm8k"), config("a/b"))
    for request, expected in ((hashed[0], 1.0), (plain[0], 0.0)):
        assert record(Completion(request, "so #### 4", 7, truncated=False))["acc"] == expected
    assert [r.question.messages for r in plain] == [ask(question, "tags", GSM8K_SYSTEM) for question in ASKED]
    none = plan_requests(find("gsm8k"), config("a/b", "data.style=none"), PromptSettings(style="none"))
    assert none[0].question.messages == ask(ASKED[0], None, "")
    with pytest.raises(
        ConfigError, match=r"data\.style=hash: olympiadbench has no reward for this style; there are tags"
    ):
        other = config("a/b", "data.style=hash")
        OmegaConf.update(other, "files.olympiadbench", other.files.gsm8k, force_add=True)
        plan_requests(find("olympiadbench"), other, PromptSettings(style="hash"))


def test_the_style_of_a_run_that_a_benchmark_has_no_reward_for_is_the_files(run, config):
    c = config(run)
    OmegaConf.update(c, "files.olympiadbench", c.files.gsm8k, force_add=True)
    requests = plan_requests(find("olympiadbench"), c, choose_settings(c)[0])
    assert requests[0].question.messages == ask(ASKED[0], "tags", GSM8K_SYSTEM)


def test_an_opened_tag_is_graded(config):
    request, _ = plan_requests(find("gsm8k"), config("a/b"))
    turn = "2+2=4</think>\n<answer>4</answer>"
    formats = [record(Completion(request, turn, 7, False, opening))["format"] for opening in ("<think>\n", "")]
    assert formats == [1.0, 0.0]


def test_an_evaluation_goes_on_only_with_the_same_prompts(run, config):
    c = config(run)
    put, _ = choose_settings(c)
    requests = plan_requests(find("gsm8k"), c, put)
    one, other = (settings(c, Model("m", "m", ""), requests, of) for of in (put, PromptSettings()))
    assert one["prompts"]["system"] == "fold" and "prompts" not in other
    assert json.loads(json.dumps(one)) == one


def test_a_template_that_refuses_is_said_before_vllm(config, tmp_path):
    write_tokenizer(write_model(tmp_path), "Gemma 2")
    requests = plan_requests(find("gsm8k"), config(tmp_path))
    with pytest.raises(ConfigError, match=r"takes no system message .*data\.system=fold"):
        tokenized(str(tmp_path), requests, PromptSettings(), max_tokens=8)
    assert tokenized(str(tmp_path), requests, PromptSettings(system="fold"), max_tokens=8)

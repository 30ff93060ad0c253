"""Prompts that a model cannot be given are found before Ray, with the model's name, the cause and the way out."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chat_templates import CHAT_TEMPLATES, write_tokenizer
from omegaconf import OmegaConf
from verl_rows import write_model, write_rows

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.data.prompt_settings import KWARGS, TEMPLATE
from cppo_verl.data.prompts import GSM8K_SYSTEM, ask
from cppo_verl.preflight.check import check
from cppo_verl.preflight.prepare import prepare

QUESTIONS = [f"How many are {number}?" for number in range(8)]
WITH_SYSTEM = [ask(question, "tags", GSM8K_SYSTEM) for question in QUESTIONS]
ROOM = ("data.max_prompt_length=1024", "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=4096")


@pytest.fixture
def ready(config, tmp_path):
    """`ready("Gemma 2", prompt, "key=value", ...)`: a run's config with a model of a family and prompts for its
    questions."""

    def make(family: str | None, prompts=None, *overrides: str):
        (tmp_path / "model").mkdir()
        model = write_model(tmp_path / "model", max_position_embeddings=4096)
        write_tokenizer(model, family)
        changed = {} if prompts is None else {"prompt": prompts}
        rows = write_rows(tmp_path / "rows.parquet", QUESTIONS, **changed)
        files = (f"data.train_files={rows}", f"data.val_files={rows}", f"actor_rollout_ref.model.path={model}")
        return config(
            "recipe=toy", "device=cpu", *ROOM, *files, f"trainer.default_local_dir={tmp_path}/run", *overrides
        )

    return make


@pytest.mark.parametrize("filtered", ["true", "false"])
@pytest.mark.parametrize("family", ["Gemma 2", "Mistral 0.1"])
def test_a_template_without_a_system_role(ready, family, filtered):
    c = ready(family, WITH_SYSTEM, f"data.filter_overlong_prompts={filtered}", "dry_run=true")
    with pytest.raises(ConfigError) as caught:
        check(c)
    (message,) = caught.value.args
    assert "rows.parquet, row 1: the chat template of" in message and "/model takes no system message" in message
    assert "data.system=fold" in message and "--no-system-prompt" in message
    c.data.system = "fold"
    check(c)


@pytest.mark.parametrize("filtered", ["true", "false"])
def test_a_model_without_a_template(ready, filtered):
    c = ready(None, None, f"data.filter_overlong_prompts={filtered}")
    with pytest.raises(ConfigError, match=r"has no chat template; give one with actor_rollout_ref\.model\.custom_chat"):
        check(c)
    OmegaConf.update(c, TEMPLATE, CHAT_TEMPLATES["ChatML"])
    check(c)
    OmegaConf.update(c, TEMPLATE, "templates/mine.jinja")
    with pytest.raises(ConfigError, match=r"writes nothing of what the user says: it is 'templates/mine\.jinja'"):
        check(c)


def test_the_length_of_prompts_is_that_of_the_runs_own_template(ready):
    c = ready(None, None)
    OmegaConf.update(c, TEMPLATE, "{{ 'word ' * 600 }}" + CHAT_TEMPLATES["ChatML"])
    with pytest.raises(ConfigError, match=r"8 prompt\(s\) of more than data\.max_prompt_length=1024 tokens"):
        check(c)
    OmegaConf.update(c, TEMPLATE, "{{ 'word ' * 600 if thinks else '' }}" + CHAT_TEMPLATES["ChatML"])
    check(c)
    OmegaConf.update(c, f"{KWARGS}.thinks", True, force_add=True)
    with pytest.raises(ConfigError, match=r"8 prompt\(s\) of more than data\.max_prompt_length=1024 tokens"):
        check(c)


def test_a_filter_that_leaves_too_few_questions(ready):
    c = ready("ChatML", None, "data.filter_overlong_prompts=true")
    check(c)
    c.data.max_prompt_length = 8
    with pytest.raises(ConfigError) as caught:
        check(c)
    assert "0 of 8 prompts have at most data.max_prompt_length=8 tokens" in str(caught.value)
    c.data.max_prompt_length = int(caught.value.args[0].rpartition("=")[2])
    check(c)


def test_the_plan_says_that_the_template_opens_a_tag(ready):
    told = prepare(ready("R1-Distill"))
    assert "opens <think> in the prompt: completions begin after it" in told and "extra_info.turn_opening" in told


def test_the_plan_says_that_the_template_closes_a_block(ready):
    c = ready("Qwen3")
    assert "<think>" not in prepare(c)
    OmegaConf.update(c, f"{KWARGS}.enable_thinking", False, force_add=True)
    assert "writes a closed block (</think>) into the prompt" in prepare(c)


def test_a_run_keeps_the_style_of_its_rows(ready):
    c = ready("ChatML", WITH_SYSTEM)
    prepare(c)
    assert c.data.style == "tags"
    c.data.style = "hash"
    with pytest.raises(ConfigError, match=r"data\.style=hash, but the rows of data\.train_files ask in style tags"):
        check(c)


def test_folding_is_refused_where_nothing_would_fold(ready):
    own = ("data.system=fold", "data.custom_cls.path=mine.py", "data.custom_cls.name=Mine")
    with pytest.raises(ConfigError, match=r"data\.system=fold is not read by data\.custom_cls\.path=mine\.py"):
        check(ready("Gemma 2", WITH_SYSTEM, *own))


def test_a_tokenizer_without_an_end(ready, tmp_path):
    c = ready("ChatML")
    tokenizer = write_tokenizer(tmp_path / "model")
    tokenizer.pad_token = tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(ConfigError, match="has neither a pad token nor an end token"):
        check(c)


def test_files_whose_columns_differ(ready, tmp_path):
    c = ready("ChatML")
    extra = {"numbers": [{"index": n} for n in range(8)], "texts": [{"index": str(n)} for n in range(8)]}
    files = [str(write_rows(tmp_path / f"{name}.parquet", QUESTIONS, extra_info=of)) for name, of in extra.items()]
    c.data.train_files = files
    with pytest.raises(ConfigError) as caught:
        check(c)
    (message,) = caught.value.args
    for part in ("data.train_files: extra_info.index is ", "string in", "int64 in", *files):
        assert part in message
    # Fewer fields, or one that is empty, are no other type.
    others = write_rows(tmp_path / "others.parquet", QUESTIONS, extra_info=[{"split": "train"}] * 8)
    empty = write_rows(tmp_path / "empty.parquet", QUESTIONS, extra_info=[{"index": None, "split": "train"}] * 8)
    c.data.train_files = [files[0], str(others), str(empty)]
    check(c)


def test_a_file_of_another_version_of_datasets(ready, tmp_path):
    c = ready("ChatML")
    table = pq.read_table(tmp_path / "rows.parquet")
    described = b'{"info": {"features": {"data_source": {"dtype": "string", "_type": "FutureText"}}}}'
    newer = tmp_path / "newer.parquet"
    pq.write_table(table.replace_schema_metadata({b"huggingface": described}), newer)
    assert isinstance(table, pa.Table)
    c.data.train_files = str(newer)
    with pytest.raises(ConfigError, match=r"newer\.parquet cannot be read by the installed datasets .*FutureText"):
        check(c)

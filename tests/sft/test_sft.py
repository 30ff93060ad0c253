"""The supervised warm start: what its config composes to, what is refused, and where its model stops."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from chat_templates import write_tokenizer
from omegaconf import OmegaConf
from transformers import AutoTokenizer
from verl.trainer.sft_trainer import SFTTrainer
from verl.utils.config import omega_conf_to_dataclass
from verl_rows import write_model

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.evaluation.prompts import settings_of_run
from cppo_verl.runs.checkpoints import mark_complete
from cppo_verl.runs.folder import save_config
from cppo_verl.sft import checks
from cppo_verl.sft.demonstrations import prompt_settings
from cppo_verl.sft.model import turn_end
from cppo_verl.sft.model import write_model as write_trained
from cppo_verl.toy.tokenizer import END_OF_TEXT, TURN_END


def demonstrations(path: Path, rows: int, words: int = 1) -> Path:
    chat = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "four " * words}]
    pd.DataFrame({"messages": [chat] * rows}).to_parquet(path)
    return path


def test_the_settings_of_the_warm_start(sft):
    c = sft()
    assert c.model.path == "Qwen/Qwen2.5-Math-1.5B"
    assert (c.data.train_batch_size, c.data.max_length, c.data.truncation) == (64, 4096, "error")
    assert (c.optim.lr, c.optim.lr_scheduler_type, c.optim.min_lr_ratio) == (1e-5, "cosine", 0.1)
    assert (c.trainer.total_epochs, c.trainer.n_gpus_per_node) == (3, 2)
    assert "hf_model" in c.checkpoint.save_contents
    assert c.trainer.default_local_dir == "outputs/grpo_plus/sft"


@pytest.mark.parametrize(("device", "named", "dtype"), [("gpu", "cuda", "bfloat16"), ("cpu", "cpu", "float32")])
def test_verl_takes_the_config(sft, model, device, named, dtype):
    c = sft(f"device={device}", f"model.path={model}")
    OmegaConf.resolve(c)
    assert c.trainer.device == named
    trainer = object.__new__(SFTTrainer)
    trainer.config = c
    trainer._build_config()
    assert (trainer.engine_config.strategy, trainer.engine_config.dtype) == ("fsdp2", dtype)
    assert trainer.optimizer_config.min_lr_ratio == 0.1
    assert omega_conf_to_dataclass(c.checkpoint).save_contents == ["model", "optimizer", "extra", "hf_model"]


def test_a_good_config_is_described(sft, model, tmp_path):
    train, val = demonstrations(tmp_path / "train.parquet", 20), demonstrations(tmp_path / "val.parquet", 8)
    files = (f"data.train_files={train}", f"data.val_files={val}")
    c = sft("device=cpu", f"model.path={model}", *files, "data.train_batch_size=8", "data.max_length=64")
    checks.check(c)
    assert "20 demonstrations, 8 a step over 1 rank(s); 6 steps" in checks.describe(c)


def test_what_gpus_attend_through_is_said(sft, model, tmp_path):
    train = demonstrations(tmp_path / "train.parquet", 20)
    attention = "model.override_config.attn_implementation"
    made = sft(f"model.path={model}", f"data.train_files={train}", "data.val_files=null", f"{attention}=sdpa")
    assert "Attention: sdpa, torch's own" in checks.describe(made)
    (remark,) = checks.remarks(made)
    assert "up to 16,384" in remark and "set data.max_token_len_per_gpu=4096" in remark
    for other in (f"{attention}=flash_attention_2", "device=cpu", "data.max_token_len_per_gpu=4096"):
        assert list(checks.remarks(sft(f"{attention}=sdpa", other))) == []


def test_fused_kernels_need_one_embedding(sft, tmp_path):
    """As in a run: they crash in the first step, after the ranks have started."""
    faults = {}
    for tied in (True, False):
        folder = tmp_path / str(tied)
        folder.mkdir()
        write_model(folder, tie_word_embeddings=tied, architectures=["Qwen2ForCausalLM"])
        made = sft("device=cpu", f"model.path={folder}", "model.use_fused_kernels=true")
        with pytest.raises(ConfigError) as caught:
            checks.check(made)
        faults[tied] = [line for line in map(str, caught.value.args) if line.startswith("model.use_fused_kernels=true")]
    assert not faults[True] and len(faults[False]) == 1 and faults[False][0].endswith("set it to false")


def test_all_faults_at_once(sft, tmp_path):
    (tmp_path / "text.parquet").write_text("no parquet")
    c = sft(
        *("device=cpu", "trainer.n_gpus_per_node=3", "trainer.nnodes=2", "data.max_token_len_per_gpu=1024"),
        *(f"model.path={tmp_path}/nowhere", f"data.val_files={tmp_path}/text.parquet"),
    )
    with pytest.raises(ConfigError) as caught:
        checks.check(c)
    for says in (
        "data.train_batch_size=64 does not split over the 3 ranks (trainer.n_gpus_per_node); nearest that works: 63",
        "trainer.nnodes=2: this entry point starts the ranks of one machine",
        "data.max_token_len_per_gpu=1024 is less than data.max_length=4096; set it to 4096",
        f"model.path: no model at {tmp_path}/nowhere",
        "data.train_files: data/sft/train.parquet is not there; run: python examples/data_preprocess/sft.py",
        "text.parquet is not a readable parquet file",
    ):
        assert says in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "words", "overrides", "says"),
    [
        (8, 1, ("data.messages_key=chat",), "train.parquet has no column chat; run: python examples/"),
        (8, 1, ("data.train_batch_size=9",), "a step takes 9 demonstrations .data.train_batch_size. but there are 8"),
        (8, 1, ("data.train_max_samples=7",), "a step takes 8 demonstrations .* but there are 7"),
        (8, 20, (), r"train.parquet: 8 demonstration.s. of more than data.max_length=64 tokens, first in row 1; set "),
        (8, 1, ("data.max_length=65",), "data.max_length=65 is more than the 64 positions of .*; set it to 64"),
        (
            8,
            1,
            ("trainer.test_freq=after_each_epoch",),
            "after_each_epoch without data.val_files; set it to -1",
        ),
        (8, 1, ("trainer.total_training_steps=9", "trainer.total_epochs=2"), "2 epoch.s. are 2 steps; set it to 2"),
        (8, 1, ("trainer.save_freq=0",), "trainer.save_freq=0; set it to -1 for never"),
        (
            8,
            1,
            ("optim.lr=1e4",),
            r"optim.lr=10000: AdamW moves every weight by about so much .* set it to 0.1 or less",
        ),
        (
            8,
            1,
            ("+model.custom_chat_template=a.jinja",),
            "'a.jinja'; model.custom_chat_template is the text of a templ",
        ),
        (8, 1, ("trainer.resume_mode=last",), "trainer.resume_mode=last: verl knows auto, disable and resume_path"),
        (8, 1, ("trainer.resume_from_path=global_step_7",), "global_step_7 is not there; trainer.resume_mode=auto"),
        (8, 1, ("engine.ulysses_sequence_parallel_size=2",), "ulysses_sequence_parallel_size=2 with attn_impl.*=sdpa"),
    ],
)
def test_refusals(sft, model, tmp_path, rows, words, overrides, says):
    train = demonstrations(tmp_path / "train.parquet", rows, words)
    sizes = ("data.train_batch_size=8", "data.max_length=64")
    c = sft("device=cpu", f"model.path={model}", f"data.train_files={train}", "data.val_files=null", *sizes, *overrides)
    with pytest.raises(ConfigError, match=says):
        checks.check(c)


def test_the_checkpoint_of_a_warm_start_of_another_model_is_not_gone_on_from(sft, model, tmp_path):
    train, run = demonstrations(tmp_path / "train.parquet", 8, 1), f"trainer.default_local_dir={tmp_path}/run"
    given = (f"model.path={model}", f"data.train_files={train}", "data.val_files=null", "data.train_batch_size=8", run)
    save_config(sft("device=cpu", *given, f"model.path={tmp_path}/another"))
    (tmp_path / "run/global_step_1").mkdir()
    mark_complete(tmp_path / "run/global_step_1")
    named = "/".join(model.parts[-4:])  # a folder of this name is a checkpoint's, to be told by what it lies in
    with pytest.raises(ConfigError, match=rf"of a run with other settings.*model.path={named} \(it: another\)"):
        checks.check(sft("device=cpu", *given, "data.max_length=64"))


def test_a_logger_that_is_not_installed_is_refused(sft, model, tmp_path, monkeypatch):
    monkeypatch.setattr("cppo_verl.preflight.loggers.find_spec", lambda package: None)
    train = demonstrations(tmp_path / "train.parquet", 8, 1)
    given = (f"model.path={model}", f"data.train_files={train}", "data.val_files=null", "data.train_batch_size=8")
    with pytest.raises(ConfigError, match="swanlab needs a package: pip install swanlab, or leave swanlab out"):
        checks.check(sft("device=cpu", *given, "data.max_length=64", "trainer.logger=[console,swanlab]"))


def test_the_model_stops_where_the_template_ends_a_turn(model, tmp_path):
    """Also at the ends that it had."""
    write_trained(model.parent, tmp_path / "model")
    made = AutoTokenizer.from_pretrained(tmp_path / "model")
    end, before = made.convert_tokens_to_ids(TURN_END), AutoTokenizer.from_pretrained(model)
    assert (turn_end(before), made.eos_token, before.eos_token) == (end, TURN_END, END_OF_TEXT)
    assert made("How many pens?")["input_ids"] == before("How many pens?")["input_ids"]
    ends = {name: json.loads((tmp_path / f"model/{name}.json").read_text()) for name in ("config", "generation_config")}
    assert (ends["config"]["eos_token_id"], ends["generation_config"]["eos_token_id"]) == (end, [end, 0])
    assert ends["generation_config"]["do_sample"] is False
    assert not list(tmp_path.glob(".*partial"))


def test_an_evaluation_asks_as_the_demonstrations_were_rendered(sft, model, tmp_path):
    config = sft("+data.apply_chat_template_kwargs.enable_thinking=false", "+model.custom_chat_template=a template")
    write_trained(model.parent, tmp_path / "model", prompt_settings(config))
    settings, file = settings_of_run(str(tmp_path / "model"))
    assert (settings.template, settings.kwargs) == ("a template", {"enable_thinking": False})
    assert file.parent == tmp_path / "model"
    checkpoint = tmp_path / "run/global_step_2/huggingface"
    shutil.copytree(model, checkpoint)
    (tmp_path / "run/config.yaml").write_text(OmegaConf.to_yaml(config))
    assert settings_of_run(str(checkpoint)) == (settings, tmp_path / "run/config.yaml")


def test_models_that_cannot_be_trained_or_padded_are_refused(sft, model, tmp_path):
    rows = demonstrations(tmp_path / "train.parquet", 8)
    given = f"data.train_files={rows}", "data.val_files=null", "data.train_batch_size=8", "data.max_length=64"
    for changed, says in (
        ({"architectures": ["GPT2LMHeadModel"]}, "is a GPT2LMHeadModel .*, which verl 0.9.1 would load without its"),
        ({"vocab_size": 1}, "pads with token .*, but the model has embeddings of 1 tokens"),
    ):
        other = tmp_path / "other"
        shutil.copytree(model, other, dirs_exist_ok=True)
        config = json.loads((model / "config.json").read_text())
        (other / "config.json").write_text(json.dumps(config | changed))
        tokenizer = json.loads((model / "tokenizer_config.json").read_text())
        (other / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"pad_token": TURN_END}))
        with pytest.raises(ConfigError, match=says):
            checks.check(sft("device=cpu", f"model.path={other}", *given, "trainer.test_freq=-1"))


def test_a_demonstrations_length_counts_its_begin_once(sft, tmp_path):
    """The text of a template that writes the begin token is not given another one."""
    model = write_model(tmp_path, max_position_embeddings=512)
    tokenizer = write_tokenizer(model, "Llama 3", bos=True)
    rows = demonstrations(tmp_path / "train.parquet", 8, words=30)
    chat = pd.read_parquet(rows)["messages"][0]
    length = len(tokenizer.apply_chat_template([dict(message) for message in chat], return_dict=False))
    text = tokenizer.apply_chat_template([dict(message) for message in chat], tokenize=False)
    assert len(tokenizer(text)["input_ids"]) == length + 1
    given = f"model.path={model}", f"data.train_files={rows}", "data.train_batch_size=8", "trainer.test_freq=-1"
    checks.check(sft("device=cpu", *given, "data.val_files=null", f"data.max_length={length}"))
    with pytest.raises(ConfigError, match=f"set data.max_length={length}, or leave"):
        checks.check(sft("device=cpu", *given, "data.val_files=null", f"data.max_length={length - 1}"))


def test_roles_that_are_none_are_not_trained_on(sft, model, tmp_path):
    rows = tmp_path / "train.parquet"
    chat = [{"role": "human", "content": "How many?"}, {"role": "gpt", "content": "four"}]
    pd.DataFrame({"messages": [chat] * 8}).to_parquet(rows)
    given = f"model.path={model}", f"data.train_files={rows}", "data.train_batch_size=8", "trainer.test_freq=-1"
    with pytest.raises(ConfigError, match=r"train\.parquet, row 1: messages holds a message of the role 'human'"):
        checks.check(sft("device=cpu", *given, "data.val_files=null", "data.max_length=64"))


@pytest.mark.parametrize("family", ["Gemma 2", "Mistral 0.1"])
def test_a_template_that_takes_only_whole_chats_is_refused(sft, tmp_path, family):
    """verl renders demonstrations message by message."""
    model = write_model(tmp_path, max_position_embeddings=512)
    write_tokenizer(model, family)
    rows = demonstrations(tmp_path / "train.parquet", 8)
    given = f"model.path={model}", f"data.train_files={rows}", "data.train_batch_size=8", "trainer.test_freq=-1"
    says = r"row 1: .* does not take messages of user, user .*; give model.custom_chat_template a template that"
    with pytest.raises(ConfigError, match=says):
        checks.check(sft("device=cpu", *given, "data.val_files=null", "data.max_length=64"))


def test_of_a_missing_template_the_warm_starts_own_option_is_named(sft, model, tmp_path):
    without = tmp_path / "without"
    shutil.copytree(model, without)
    (without / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((without / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (without / "tokenizer_config.json").write_text(json.dumps(settings))
    rows = demonstrations(tmp_path / "train.parquet", 8)
    given = f"model.path={without}", f"data.train_files={rows}", "data.train_batch_size=8", "trainer.test_freq=-1"
    with pytest.raises(ConfigError, match=r"has no chat template; give one with model\.custom_chat_template"):
        checks.check(sft("device=cpu", *given, "data.val_files=null", "data.max_length=64"))

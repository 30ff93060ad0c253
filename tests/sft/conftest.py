"""The warm start's config, and a model for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from verl_rows import write_model

import cppo_verl.sft
from cppo_verl.toy.tokenizer import END_OF_TEXT, save_tokenizer, train_tokenizer

CONF = Path(cppo_verl.sft.__file__).parent / "conf"


@pytest.fixture
def sft(repo) -> Callable[..., DictConfig]:
    """`sft("key=value", ...)`: the config that `recipe/grpo_plus/sft.sh` composes."""
    path = f"hydra.searchpath=[pkg://verl.trainer.config,file://{repo}/recipe/grpo_plus/config]"

    def composed(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(CONF), version_base=None):
            return compose("sft", overrides=[path, "sft=grpo_plus", *overrides])

    return composed


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A folder with a tokenizer like a base model's: its end of text is not what ends a turn."""
    folder = tmp_path_factory.mktemp("model") / "huggingface"
    tokenizer = train_tokenizer(["How many pens?"], 300)
    tokenizer.eos_token = END_OF_TEXT
    save_tokenizer(tokenizer, folder, [])
    chat = (folder / "tokenizer_config.json").read_text()
    write_model(folder, max_position_embeddings=64, eos_token_id=0, architectures=["Qwen2ForCausalLM"])
    (folder / "tokenizer_config.json").write_text(chat)
    (folder / "generation_config.json").write_text('{"eos_token_id": 0, "do_sample": false}')
    return folder

"""What a run reads, as small as it may be: Parquet files in verl's schema, and a model's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cppo_verl.hardware.memory import Model
from cppo_verl.toy.tokenizer import CHAT_TEMPLATE

TINY = Model(
    parameters=10**6, layers=2, hidden=64, vocabulary=100, intermediate=96, heads=4, kv_heads=2, head_size=16, tied=True
)
"""A model's sizes, but for the parameters those of `write_model`."""


def write_rows(path: Path, questions: Sequence[str], split: str = "train", **changed: Sequence) -> Path:
    """A row a question, with a gold; `changed` replaces whole columns (None leaves one out)."""
    columns = {
        "data_source": ["openai/gsm8k"] * len(questions),
        "prompt": [[{"role": "user", "content": question}] for question in questions],
        "reward_model": [{"style": "rule", "ground_truth": "4"}] * len(questions),
        "extra_info": [{"split": split}] * len(questions),
    }
    columns = {name: column for name, column in (columns | changed).items() if column is not None}
    pd.DataFrame(columns).to_parquet(path)
    return path


def write_model(folder: Path, **sizes: object) -> Path:
    """A folder that passes for a model's before the weights are read: there are none in its file."""
    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    small |= {"intermediate_size": 96, "vocab_size": 100, "tie_word_embeddings": True}
    small |= {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
    (folder / "config.json").write_text(json.dumps({**small, **sizes}))
    (folder / "model.safetensors").touch()
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHAT_TEMPLATE}))
    return folder

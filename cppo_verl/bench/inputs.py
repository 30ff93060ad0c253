"""What a benchmark reads: a model of random weights and a data set of as many questions as it takes.

python -m cppo_verl.bench.inputs FOLDER [--geometry qwen2.5-0.5b | --model FOLDER] [--questions 128]

writes FOLDER/questions.parquet and, unless a model is given, FOLDER/model.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from cppo_verl.hardware.shapes import find_geometry
from cppo_verl.toy.problems import NAMES, PHRASES, THINGS
from cppo_verl.toy.tokenizer import save_tokenizer, train_tokenizer

STAMP = "bench.json"
WORDS = (*NAMES, *PHRASES, *THINGS)
VOCABULARY = 640
"""Tokens that the tokenizer learns at the most."""


def build_model(folder: Path, shape: Mapping[str, int | bool], dtype: str) -> None:
    """A Qwen2 model of this shape with random weights, and a small tokenizer; a folder that has it is left as it is.

    Args:
        folder: Where to write it.
        shape: Of `Qwen2Config`.
        dtype: Of the weights in the file.
    """
    wanted = json.dumps({"shape": dict(shape), "dtype": dtype})
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    texts = [" ".join(WORDS)]
    tokenizer = save_tokenizer(train_tokenizer(texts, VOCABULARY), folder, texts)
    special = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(Qwen2Config(**shape, **special)).to(getattr(torch, dtype))
    model.save_pretrained(folder)
    stamp.write_text(wanted)


def write_questions(path: Path, count: int, num_tokens: int, model: Path) -> None:
    """So many different questions, each of about `num_tokens` tokens of this model's, in verl's schema."""
    words, tokenizer = random.Random(0), AutoTokenizer.from_pretrained(model)
    per_word = len(tokenizer(" ".join(WORDS))["input_ids"]) / len(WORDS)
    texts = [" ".join(words.choices(WORDS, k=round(num_tokens / per_word))) for _ in range(count)]
    rows = [
        {
            "data_source": "bench",
            "prompt": [{"role": "user", "content": text}],
            "reward_model": {"style": "rule", "ground_truth": str(number)},
            "extra_info": {"split": "train", "index": number},
        }
        for number, text in enumerate(texts)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--geometry", default="qwen2.5-0.5b", help="the shape, and how long a prompt is")
    parser.add_argument("--model", type=Path, help="folder of a model: none is written, its tokenizer counts")
    parser.add_argument("--questions", type=int, default=128)
    args = parser.parse_args(arguments)
    geometry, model = find_geometry(args.geometry), args.model or args.folder / "model"
    if not args.model:
        build_model(model, geometry.shape, geometry.dtype)
    write_questions(args.folder / "questions.parquet", args.questions, geometry.prompt_tokens, model)


if __name__ == "__main__":
    main()

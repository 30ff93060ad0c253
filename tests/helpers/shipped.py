"""The shipped scripts as they call the command, and what stands in for the files that they read."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from verl_rows import write_rows

from cppo_verl.bench.inputs import VOCABULARY, WORDS
from cppo_verl.hardware.shapes import find_geometry
from cppo_verl.toy.tokenizer import save_tokenizer, train_tokenizer

REPO = Path(__file__).parents[2]
SIZES = {"0.5b": "qwen2.5-0.5b", "1.5b": "qwen2.5-1.5b", "7b": "qwen2.5-7b"}
"""What a model's name says of its size to a shape that is known here."""


@dataclasses.dataclass(frozen=True)
class Script:
    """A shipped script."""

    name: str
    """`RECIPE/NAME`."""
    command: str
    """`train`, `evaluate` or `sft`."""
    overrides: tuple[str, ...]


@cache
def scripts(command: str) -> list[Script]:
    """All shipped scripts that call a command, found by running them with a Python that shows its arguments."""
    found = []
    for path in sorted(REPO.glob("recipe/*/*.sh")):
        env = os.environ | {"PYTHON": str(Path(__file__).with_name("arguments.sh"))}
        shown = subprocess.run(["bash", path], env=env, capture_output=True, text=True, check=True).stdout
        _, module, called, *overrides = shown.splitlines()
        assert module == "cppo_verl", path
        found.append(Script(f"{path.parent.name}/{path.stem}", called, tuple(overrides)))
    return [script for script in found if script.command == command]


def stand_in(model: str, folder: Path) -> Path:
    """A folder with the shape and a tokenizer of a hub's model, by its name; of weights one, whose type vLLM reads."""
    from transformers import Qwen2Config

    size = next(size for size in SIZES if size in model.lower())
    target = folder / SIZES[size]
    if not target.exists():
        texts = [" ".join(WORDS)]
        tokenizer = save_tokenizer(train_tokenizer(texts, VOCABULARY), target, texts)
        special: dict[str, Any] = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        of_hub = {"architectures": ["Qwen2ForCausalLM"], "dtype": "bfloat16"}
        Qwen2Config(**find_geometry(SIZES[size]).shape, **special, **of_hub).save_pretrained(target)
        save_file({"model.norm.weight": torch.ones(8, dtype=torch.bfloat16)}, target / "model.safetensors")
    return target


def questions(folder: Path) -> Path:
    """A step's questions of any recipe, in verl's schema."""
    path = folder / "questions.parquet"
    return path if path.exists() else write_rows(path, [f"question {number}" for number in range(4096)])

"""The model at the end of a run, as RL and the evaluation take it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from cppo_verl.data.prompt_settings import PromptSettings
from cppo_verl.evaluation.prompts import write_settings

MODEL = "model"
"""Folder of a run that holds it."""
_PROBE = "PROBE"


def turn_end(tokenizer: Any) -> int:
    """Id of the token with which the chat template ends the assistant's turn.

    Args:
        tokenizer: transformers', with a chat template.

    Raises:
        ValueError: Nothing stands after the assistant's text, so that nothing could end it.
    """
    chat = [{"role": "user", "content": ""}, {"role": "assistant", "content": _PROBE}]
    after = tokenizer.apply_chat_template(chat, tokenize=False).rpartition(_PROBE)[2]
    if not after:
        raise ValueError("the chat template ends the assistant's turn with nothing")
    return tokenizer(after, add_special_tokens=False)["input_ids"][0]


def write_model(checkpoint: Path, target: Path, settings: PromptSettings | None = None) -> None:
    """Copy the model of a checkpoint whose `save_contents` hold `hf_model`; generation stops at `turn_end`.

    A base model's own end of text is another token (of Qwen2.5-Math `<|endoftext|>`, where its chat template ends a
    turn with `<|im_end|>`): a model that learned the template would go on after its answer, to the length limit. The
    other ends stay. The folder appears when it is complete.

    Args:
        checkpoint: A run's.
        target: The folder.
        settings: How the run rendered its demonstrations, by which an evaluation then asks.
    """
    from transformers import AutoTokenizer

    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(checkpoint / "huggingface", partial)
    tokenizer = AutoTokenizer.from_pretrained(partial)
    end = turn_end(tokenizer)
    if tokenizer.eos_token_id != end:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
        tokenizer.save_pretrained(partial)
    _set_end(partial / "config.json", lambda _: end)
    _set_end(partial / "generation_config.json", lambda ends: [end, *(other for other in ends if other != end)])
    write_settings(settings or PromptSettings(), partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def _set_end(file: Path, choose) -> None:
    content = json.loads(file.read_text()) if file.is_file() else {}
    ends = content.get("eos_token_id")
    content["eos_token_id"] = choose(ends if isinstance(ends, list) else [ends] if ends is not None else [])
    file.write_text(json.dumps(content, indent=2) + "\n")

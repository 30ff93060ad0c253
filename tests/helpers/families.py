"""Models of known families with two layers and random weights, and the embedded default's tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chat_templates import write_tokenizer

VOCABULARY, POSITIONS = 384, 512
SIZES = {
    **{"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"num_key_value_heads": 1, "head_dim": 32, "vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS},
}
TEXT = {
    "llama": ("LlamaForCausalLM", "Llama 3"),
    "phi3": ("Phi3ForCausalLM", "ChatML"),
    "smollm3": ("SmolLM3ForCausalLM", "Qwen3"),
    "qwen2": ("Qwen2ForCausalLM", "ChatML"),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3"),
    "qwen3_5_text": ("Qwen3_5ForCausalLM", "Qwen3.5"),
    "gemma2": ("Gemma2ForCausalLM", "Gemma 2"),
    "gemma3_text": ("Gemma3ForCausalLM", "Gemma 2"),
    "mistral": ("MistralForCausalLM", "Mistral 0.1"),
    "ministral3": ("Ministral3ForCausalLM", "ChatML"),
}
"""`model_type` to architecture and the family of the chat template."""
WITH_IMAGES = {
    "gemma3": ("Gemma3ForConditionalGeneration", "gemma3_text"),
    "mistral3": ("Mistral3ForConditionalGeneration", "ministral3"),
    "qwen3_5": ("Qwen3_5ForConditionalGeneration", "qwen3_5_text"),
}
"""`model_type` to architecture and the `model_type` of the part that reads text."""


def write_family(folder: Path, family: str, *, weights: bool = True, **changed: Any) -> Path:
    """A folder with a model of text, random weights, tokenizer and chat template.

    Args:
        folder: Is made.
        family: A key of `TEXT`.
        weights: Whether weights are made; else there is an empty file.
        changed: Other values of its config.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    architecture, template = TEXT[family]
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = write_tokenizer(folder, template, bos=family == "llama")
    special = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = AutoConfig.for_model(family, **{**SIZES, **special, "architectures": [architecture], **changed})
    if weights:
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    else:
        config.save_pretrained(folder)
        (folder / "model.safetensors").touch()
    return folder


def write_with_images(folder: Path, family: str) -> Path:
    """The config and tokenizer of a model of images and text, without its processor's files."""
    from transformers import AutoConfig

    architecture, text = WITH_IMAGES[family]
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    AutoConfig.for_model(
        family, text_config={**SIZES, "model_type": text}, architectures=[architecture]
    ).save_pretrained(folder)
    (folder / "model.safetensors").touch()
    return folder

"""Chat templates that behave as those of known model families do, in few words; and a small tokenizer to have them."""

from __future__ import annotations

from pathlib import Path

from tokenizers import processors
from transformers import PreTrainedTokenizerBase

from cppo_verl.toy.tokenizer import CHAT_TEMPLATE, save_tokenizer, train_tokenizer

_TURNS = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
_BEGIN = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
_NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
_ALTERNATE = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/...') }}{% endif %}{% endfor %}"
)
_NEEDS_USER = (
    "{% if not messages | selectattr('role', 'equalto', 'user') | list %}"
    "{{ raise_exception('No user query found in messages.') }}{% endif %}"
)
_OPENS = _BEGIN + "{{ '<think>\n' }}{% endif %}"
_OPENS_IF_THINKING = (
    _BEGIN + "{{ '<think>\n\n</think>\n\n' if enable_thinking is defined and not enable_thinking else '<think>\n' }}"
    "{% endif %}"
)
_CLOSES_IF_NOT_THINKING = (
    _BEGIN + "{{ '<think>\n\n</think>\n\n' if enable_thinking is defined and not enable_thinking else '' }}{% endif %}"
)

CHAT_TEMPLATES = {
    "ChatML": CHAT_TEMPLATE,
    "R1-Distill": _TURNS + _OPENS,
    "Qwen3-Thinking": _TURNS + _OPENS,
    "Qwen3": _TURNS + _CLOSES_IF_NOT_THINKING,
    "Qwen3.5": _NEEDS_USER + _TURNS + _OPENS_IF_THINKING,
    "Gemma 2": _NO_SYSTEM + _ALTERNATE + _TURNS + _BEGIN + "{% endif %}",
    "Mistral 0.1": _ALTERNATE + _TURNS,
    "Llama 3": "{{ bos_token }}" + _TURNS + _BEGIN + "{% endif %}",
}
"""By the family: ChatML's tokens all, and of each what it refuses and what it writes of the model's turn."""


def write_tokenizer(folder: Path, family: str | None = "ChatML", *, bos: bool = False) -> PreTrainedTokenizerBase:
    """A tokenizer in a folder.

    Args:
        folder: May hold a model.
        family: Of the template; None for none.
        bos: Whether there is a token for the beginning of a text, which the tokenizer writes before each.
    """
    tokenizer = train_tokenizer(["How many pens are left? <think>Mia has 4.</think>\n<answer>4</answer>"], 330)
    tokenizer.chat_template = CHAT_TEMPLATES.get(family)
    if bos:
        tokenizer.add_special_tokens({"bos_token": "<|begin|>"})
        begin = ("<|begin|>", tokenizer.bos_token_id)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[begin]
        )
    return save_tokenizer(tokenizer, folder, [])


def as_override(template: str) -> str:
    """A template as it is given on a command line."""
    quoted = template.replace("\n", "\\n").replace("'", "\\'")
    return f"actor_rollout_ref.model.custom_chat_template='{quoted}'"

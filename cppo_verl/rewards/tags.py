"""The `<think>`/`<answer>` layout: the format reward and the answer block.

Everything is `str.find` and `str.count`: linear in the length of a completion, however hostile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
OPENING = "turn_opening"
"""In a question's `extra_info`: what the chat template has already written of the model's turn (see `left_open`)."""

MAX_CHARS = 2_000
"""A longer answer is not read by any reward."""


def left_open(generation_prompt: str) -> str:
    """What the model's turn begins with before the model writes: `<think>\\n` of `<|im_start|>assistant\\n<think>\\n`.

    Args:
        generation_prompt: What a chat template writes after the last message for the model to go on from.

    Returns:
        The text from the first tag that is left open; empty where none is, also where the template opens and closes
        a block (`<think></think>`): the model then writes a whole turn.
    """
    starts = [generation_prompt.rfind(tag) for tag in TAGS[::2]]
    still_open = [
        start
        for tag, start in zip(TAGS[::2], starts, strict=True)
        if start >= 0 and f"</{tag[1:]}" not in generation_prompt[start:]
    ]
    return generation_prompt[min(still_open) :] if still_open else ""


def whole_turn(completion: str, extra_info: Mapping[str, Any] | None) -> str:
    """The model's turn: a completion after what its prompt had opened (`OPENING`), if anything."""
    return str((extra_info or {}).get(OPENING) or "") + completion


def layout(reasoning: str, answer: str) -> str:
    """The completion that `has_format` asks for."""
    return f"<think>{reasoning}</think>\n<answer>{answer}</answer>"


def has_format(completion: str) -> bool:
    """Whether the completion is `<think>…</think>`, one newline, `<answer>…</answer>`, and no more.

    Only white space may follow; nothing may precede. "Any text" inside a block excludes the four tags
    themselves: each stands exactly once. With repeats a policy could stack blocks, collect the format
    reward, and leave open which block is its answer; a tag inside a block also ends that block early for
    any other reader. Empty blocks are allowed, as in the paper: they earn no accuracy.
    """
    text = completion.rstrip()
    return (
        text.startswith("<think>")
        and text.endswith("</answer>")
        and "</think>\n<answer>" in text
        and all(text.count(tag) == 1 for tag in TAGS)
    )


def last_answer(completion: str) -> str | None:
    """The trimmed text of the last closed `<answer>` block, or None without one.

    A block left open at the end (a completion cut at the length limit) does not hide a closed one before it.
    """
    last_close = completion.rfind("</answer>")
    start = completion.rfind("<answer>", 0, max(last_close, 0))
    if start < 0:
        return None
    start += len("<answer>")
    return completion[start : completion.find("</answer>", start)].strip()

"""The `<think>`/`<answer>` layout: the format reward and the answer block.

Everything is `str.find` and `str.count`: linear in the length of a completion, however hostile.
"""

from __future__ import annotations

TAGS = ("<think>", "</think>", "<answer>", "</answer>")

MAX_CHARS = 2_000
"""A longer answer is not read by any reward."""


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

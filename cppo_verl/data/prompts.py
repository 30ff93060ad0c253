"""How an answer is asked for: the system messages of the published runs, or an instruction after the question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

Style = Literal["tags", "hash", "boxed"]
"""Where the answer stands: in `<answer>` tags, after `####`, or in `\\boxed{}`."""
SystemRole = Literal["keep", "fold"]
"""What becomes of a system message: it stays one, or goes before what the user says (`fold`)."""

_TASK = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
    "The assistant first thinks about the reasoning process in the mind and then provides the user with "
    "the answer. "
)
_BOXED = (
    "And the answer should be of the following format: 'Therefore, the final answer is: $\\boxed{ANSWER}$. "
    "I hope it is correct' (without quotes) where ANSWER is just the final number or expression that solves "
    "the problem. "
)
_LAYOUT = (
    "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, "
    "respectively, i.e., <think> reasoning process here </think>\n<answer> answer here </answer>."
)

GSM8K_SYSTEM = _TASK + _LAYOUT
MATH_SYSTEM = _TASK + _BOXED + _LAYOUT

INSTRUCTIONS: dict[Style, str] = {
    "hash": 'Let\'s think step by step and output the final answer after "####".',
    "boxed": "Let's think step by step and output the final answer within \\boxed{}.",
}
"""What verl's own preparation of GSM8K and of MATH writes after each question; `tags` has a system message instead."""


def ask(question: str, style: Style | None, system: str) -> list[dict[str, str]]:
    """The messages of one question.

    Args:
        question: What is asked.
        style: How the answer is to be written; None asks the question alone.
        system: The system message of the style `tags`.
    """
    if style in INSTRUCTIONS:
        return chat(f"{question} {INSTRUCTIONS[style]}", None)
    return chat(question, system if style else None)


def chat(question: str, system: str | None) -> list[dict[str, str]]:
    """The messages of one question; no system message if `system` is None."""
    opening = [] if system is None else [{"role": "system", "content": system}]
    return [*opening, {"role": "user", "content": question}]


def style_of(messages: Sequence[Mapping[str, str]]) -> Style | Literal["none", "own"]:
    """How the answer to a prompt is asked for: a style of `ask`; `none` of the question alone; `own` of any other."""
    system = [message["content"] for message in messages if message["role"] == "system"]
    if system:
        return "tags" if system == [GSM8K_SYSTEM] or system == [MATH_SYSTEM] else "own"
    asked = messages[-1]["content"]
    named = [style for style, instruction in INSTRUCTIONS.items() if asked.endswith(f" {instruction}")]
    return named[0] if named else "none" if len(messages) == 1 else "own"


def fold_system(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The messages without system messages: each stands, with an empty line between, before what the user says next.

    For chat templates that know no such role. A system message that no user's follows stays where it is.
    """
    folded: list[dict[str, str]] = []
    for message in messages:
        told = folded[-1]["content"] if folded and folded[-1]["role"] == "system" else None
        if told is not None and message["role"] in ("system", "user"):
            folded[-1] = {**message, "content": f"{told}\n\n{message['content']}"}
        else:
            folded.append(dict(message))
    return folded

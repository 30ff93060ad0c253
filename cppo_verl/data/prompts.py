"""How an answer is asked for: the system messages of the published runs, or an instruction after the question."""

from __future__ import annotations

from typing import Literal

Style = Literal["tags", "hash", "boxed"]
"""Where the answer stands: in `<answer>` tags, after `####`, or in `\\boxed{}`."""

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

"""The system messages of the published runs, and the chat they open."""

from __future__ import annotations

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


def chat(question: str, system: str | None) -> list[dict[str, str]]:
    """The messages of one question; no system message if `system` is None."""
    opening = [] if system is None else [{"role": "system", "content": system}]
    return [*opening, {"role": "user", "content": question}]

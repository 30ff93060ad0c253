"""Supervised warm start on demonstrations that leave something for RL to teach.

The demonstrators can calculate, and know what two verb phrases mean (`FAMILIAR`). The other eight
(`UNFAMILIAR`) they know from hearsay only: each time they guess whether it means a gain or a loss, rightly
with probability 1/2 + lean for every other phrase and 1/2 - lean for the rest, so that on average the
demonstrations say nothing about which meaning is the right one. Now and then a sum or a tag slips. The
model learns the format, the arithmetic and to be in doubt about eight words: a greedy reader of such
demonstrations solves (2/10 + 4/10)² = 36 % of the problems, one who samples about as many.

What RL then teaches is what eight phrases mean, from nothing but the reward of the model's own guesses, on
questions with numbers the demonstrations never used, and tested on numbers that neither has used. Half of
the meanings go against the lean, so more than sharpening is asked for; the other half are sharpened, and so
are arithmetic and format. Nearly every group of samples holds both readings, hence right and wrong answers.

Two things turned out to matter when this was tuned. The arithmetic must be learned nearly completely: with
half of it missing, the reward says too little about the words and RL stands still. And the reasoning names
the phrase just before its sum, so that what RL changes is a short step from the word to its sign.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase, Qwen2ForCausalLM

from cppo_verl.rewards.tags import layout
from cppo_verl.toy.problems import FAMILIAR, UNFAMILIAR, Problem, problems
from cppo_verl.toy.tokenizer import TURN_END, prompt_ids

IGNORED = -100  # the label that the loss of transformers leaves out
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@dataclass(frozen=True)
class WarmStart:
    """How long the model is trained, and on demonstrations of what quality."""

    steps: int = 800
    """Optimiser steps; with half as many the arithmetic is half learned."""
    batch_size: int = 32
    """Demonstrations a step; none is shown twice on purpose."""
    learning_rate: float = 3e-3
    """Peak of a one-cycle schedule with 10 % warm-up."""
    lean: float = 0.15
    """How far hearsay about a phrase is from an even guess."""
    slip: float = 0.02
    """Probability that a sum is off by one or by ten."""
    format_slip: float = 0.02
    """Probability that one of the four tags is missing."""


def completion(reasoning: str, result: int) -> str:
    """The text that the format reward asks for."""
    return layout(reasoning, str(result))


def hearsay(phrase: str, settings: WarmStart) -> float:
    """Probability that a demonstrator reads an unfamiliar phrase rightly."""
    return 0.5 + settings.lean * (-1) ** list(UNFAMILIAR).index(phrase)


def demonstrate(problem: Problem, settings: WarmStart, rng: random.Random) -> str:
    """One demonstrator's completion of `problem`: see the module's docstring for its errors."""
    first, second = (
        sign if phrase in FAMILIAR or rng.random() < hearsay(phrase, settings) else -sign
        for phrase, sign in zip(problem.phrases, problem.signs, strict=True)
    )
    slips = [rng.choice((-10, -1, 1, 10)) if rng.random() < settings.slip else 0 for _ in range(2)]
    text = completion(*problem.reasoning((first, second), (slips[0], slips[1])))
    return text.replace(rng.choice(TAGS), "") if rng.random() < settings.format_slip else text


def collate(rows: list[tuple[list[int], list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """Right-padded `input_ids` and `labels`, `(num_rows, width)`, of (prompt, completion) ids.

    The causal mask hides padding on the right from every real token, so no attention mask is needed.
    """
    width = max(len(prompt) + len(answer) for prompt, answer in rows)

    def padded(row: list[int], fill: int) -> list[int]:
        return row + [fill] * (width - len(row))

    return {
        "input_ids": torch.tensor([padded(prompt + answer, pad) for prompt, answer in rows]),
        "labels": torch.tensor([padded([IGNORED] * len(prompt) + answer, IGNORED) for prompt, answer in rows]),
    }


def batches(tokenizer: PreTrainedTokenizerBase, settings: WarmStart, seed: int) -> Iterator[dict[str, torch.Tensor]]:
    """`settings.steps` batches of fresh demonstrations, labels on the completion tokens only."""
    stream, rng = problems("demo", seed), random.Random(f"demonstrations-{seed}")
    for _ in range(settings.steps):
        chosen = [next(stream) for _ in range(settings.batch_size)]
        shown = [tokenizer(demonstrate(problem, settings, rng) + TURN_END)["input_ids"] for problem in chosen]
        prompts = [prompt_ids(tokenizer, problem.question) for problem in chosen]
        yield collate(list(zip(prompts, shown, strict=True)), tokenizer.pad_token_id)


def warm_start(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    settings: WarmStart,
    seed: int,
    on_step: Callable[[float], None] = lambda loss: None,
) -> None:
    """Train `model` in place; calls `on_step(loss)` after each step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.learning_rate, total_steps=settings.steps, pct_start=0.1
    )
    model.train()
    for batch in batches(tokenizer, settings, seed):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        on_step(loss.item())

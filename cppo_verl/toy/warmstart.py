"""Supervised warm start on demonstrations that leave something for RL to teach.

The demonstrators can calculate and know every word, but most answer too soon: after the first of two changes, with the
number that they have by then, which is wrong. How likely they are to go on depends on what is counted (`THINGS`): 2 %
for the first thing, 68 % for the last, evenly in between. Now and then a tag is missing. So the model learns the
format, the arithmetic, and sixteen degrees of patience. Read greedily it finishes what most demonstrators finish, 4 or
5 things of 16; a sample is right for about 35 %.

RL then teaches to go on, for each of the sixteen things, from nothing but the reward of the model's own samples, on
questions with numbers that the demonstrations never used, and tested on numbers that neither has used. Completions get
longer by it. For the first things nearly all samples of a group are wrong at first; those come last.

Three properties keep a run from being a lottery:

- What is learned for one thing helps with the others: going on is right for all. Where RL had to teach which of eight
  words mean a gain and which a loss, a step that taught one unlearned another, and a single word that a run missed cost
  up to 19 points.
- The arithmetic is learned completely: single digits, and no sum in the demonstrations is wrong. Where sums fail, the
  reward says too little about the rest, and updates wear the arithmetic down.
- Sixteen things, not a few: a run's result is an average.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase, Qwen2ForCausalLM

from cppo_verl.rewards.tags import layout
from cppo_verl.toy.problems import THINGS, Problem, problems
from cppo_verl.toy.tokenizer import TURN_END, prompt_ids

IGNORED = -100  # the label that the loss of transformers leaves out
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@dataclass(frozen=True)
class WarmStart:
    """How long the model is trained, and on demonstrations of what quality."""

    steps: int = 500
    """Optimiser steps; enough for arithmetic without a fault."""
    batch_size: int = 32
    """Demonstrations a step; none is shown twice on purpose."""
    learning_rate: float = 3e-3
    """Peak of a one-cycle schedule with 10 % warm-up."""
    least: float = 0.02
    """Probability that a demonstrator goes on after the first change, for the first of `THINGS`."""
    most: float = 0.68
    """The same for the last; the others lie evenly between."""
    format_slip: float = 0.01
    """Probability that one of the four tags is missing."""


def completion(reasoning: str, result: int) -> str:
    """The text that the format reward asks for."""
    return layout(reasoning, str(result))


def patience(thing: str, settings: WarmStart) -> float:
    """Probability that a demonstrator goes on after the first change of a question about `thing`."""
    share = THINGS.index(thing) / (len(THINGS) - 1)
    return settings.least + share * (settings.most - settings.least)


def demonstrate(problem: Problem, settings: WarmStart, rng: random.Random) -> str:
    """One demonstrator's completion of `problem`: right, or ended too soon."""
    changes = 2 if rng.random() < patience(problem.things, settings) else 1
    text = completion(*problem.reasoning(changes))
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

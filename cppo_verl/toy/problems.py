"""Synthetic two-step word problems in GSM8K's raw schema, made from a seed.

Invariants (tested):
    - the same arguments give the same problems;
    - no number triple (start, first change, second change) occurs in two of the splits `demo` (warm start),
      `train` (RL) and `test`, so RL and the test both ask for combinations that were never shown;
    - whichever way the two changes are read (gained or lost), the result lies in 0..30: the numbers never
      give the direction away, only the words do.
"""

import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "test", "demo"]

FAMILIAR = {"finds": 1, "loses": -1}
"""Verb phrase → +1 (gains) or -1 (loses), for the phrases that demonstrations read correctly."""

UNFAMILIAR = {
    "picks up": 1, "is given": 1, "collects": 1, "buys": 1,
    "gives away": -1, "drops": -1, "donates": -1, "sells": -1,
}  # fmt: skip
"""The phrases that demonstrations read by hearsay: see `cppo_verl.toy.warmstart`."""

PHRASES = FAMILIAR | UNFAMILIAR
NAMES = ("Mia", "Tom", "Ana", "Ben", "Eva", "Sam", "Lea", "Max", "Ida", "Jon", "Zoe", "Raj", "Kim", "Leo")
THINGS = (
    "pens",
    "apples",
    "cards",
    "coins",
    "books",
    "shells",
    "plums",
    "stamps",
    "beads",
    "nuts",
    "figs",
    "pies",
)
RESULTS = 31  # results lie in 0..30
STORIES = (
    "{name} has {start} {things}. {name} {first} and then {second}. How many {things} does {name} have now?",
    "{name} starts with {start} {things}, first {first}, then {second}. How many {things} are there now?",
    "There are {start} {things} in {name}'s bag. {name} {first} today and {second} tomorrow. How many then?",
)


@dataclass(frozen=True)
class Problem:
    """One word problem: `start` things, then two changes, each a verb phrase and a number."""

    name: str
    things: str
    story: str
    numbers: tuple[int, int, int]
    """Start, size of the first change, size of the second."""
    phrases: tuple[str, str]

    @property
    def signs(self) -> tuple[int, int]:
        """The true direction of the two changes, +1 or -1 each."""
        return PHRASES[self.phrases[0]], PHRASES[self.phrases[1]]

    @property
    def question(self) -> str:
        start, *changes = self.numbers
        first, second = (f"{phrase} {size}" for phrase, size in zip(self.phrases, changes, strict=True))
        return self.story.format(name=self.name, things=self.things, start=start, first=first, second=second)

    def reasoning(self, signs: tuple[int, int], slips: tuple[int, int] = (0, 0)) -> tuple[str, int]:
        """The worked text and its result, for a reading of the changes and an error added to each sum."""
        start, first, second = self.numbers
        middle = start + signs[0] * first + slips[0]
        end = middle + signs[1] * second + slips[1]
        op = {1: "+", -1: "-"}
        sums = f"{start}{op[signs[0]]}{first}={middle}", f"{middle}{op[signs[1]]}{second}={end}"
        steps = [f"{phrase}: {step}" for phrase, step in zip(self.phrases, sums, strict=True)]
        return "\n".join(steps), end

    def row(self) -> dict[str, str]:
        """The problem as a row of GSM8K's raw files."""
        text, result = self.reasoning(self.signs)
        return {"question": self.question, "answer": f"{text}\n#### {result}"}


def number_triples(seed: int) -> dict[Split, list[tuple[int, int, int]]]:
    """All number triples, shuffled and dealt to the three splits."""
    triples = [t for t in itertools.product(range(RESULTS), range(2, 8), range(2, 8)) if valid(t)]
    random.Random(f"triples-{seed}").shuffle(triples)
    half, third = len(triples) // 2, len(triples) * 5 // 6
    return {"demo": triples[:half], "train": triples[half:third], "test": triples[third:]}


def valid(numbers: tuple[int, int, int]) -> bool:
    """Whether every reading of the two changes stays within 0..30."""
    start, first, second = numbers
    return first + second <= start < RESULTS - first - second


def problems(split: Split, seed: int) -> Iterator[Problem]:
    """An endless stream of problems of one split; questions may repeat."""
    rng = random.Random(f"{split}-{seed}")
    triples = number_triples(seed)[split]
    # Demonstrations dwell on what they know: half of their phrases are familiar, against a fifth elsewhere.
    phrases = (*PHRASES, *3 * tuple(FAMILIAR)) if split == "demo" else tuple(PHRASES)
    while True:
        yield Problem(
            name=rng.choice(NAMES),
            things=rng.choice(THINGS),
            story=rng.choice(STORIES),
            numbers=rng.choice(triples),
            phrases=(rng.choice(phrases), rng.choice(phrases)),
        )


def distinct_problems(split: Split, count: int, seed: int) -> list[Problem]:
    """The first `count` problems of the stream with different questions."""
    found: dict[str, Problem] = {}
    for problem in problems(split, seed):
        if len(found) == count:
            break
        found.setdefault(problem.question, problem)
    return list(found.values())


def write_raw(folder: Path, train: int, test: int, seed: int) -> None:
    """Write `train.jsonl` and `test.jsonl` in GSM8K's raw schema; raises ValueError if they overlap."""
    splits = {"train": distinct_problems("train", train, seed), "test": distinct_problems("test", test, seed)}
    if {p.numbers for p in splits["train"]} & {p.numbers for p in splits["test"]}:
        raise ValueError("a number triple of the test problems also occurs in the training problems")
    folder.mkdir(parents=True, exist_ok=True)
    for split, chosen in splits.items():
        lines = (json.dumps(problem.row()) + "\n" for problem in chosen)
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")

"""Synthetic two-step word problems in GSM8K's raw schema, made from a seed.

Invariants (tested):
    - the same arguments give the same problems;
    - no number triple (start, first change, second change) occurs in two of the splits `demo` (warm start),
      `train` (RL) and `test`, so RL and the test both ask for combinations that were never shown;
    - every number is a single digit;
    - the result after the first change is never the result after both: who stops early is wrong.
"""

import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "test", "demo"]

PHRASES = {
    "finds": 1, "buys": 1, "wins": 1, "picks up": 1, "is given": 1, "collects": 1,
    "loses": -1, "sells": -1, "breaks": -1, "gives away": -1, "drops": -1, "donates": -1,
}  # fmt: skip
"""Verb phrase → +1 (gains) or -1 (loses)."""

NAMES = ("Mia", "Tom", "Ana", "Ben", "Eva", "Sam", "Lea", "Max", "Ida", "Jon", "Zoe", "Raj", "Kim", "Leo")
THINGS = (
    "pens", "apples", "cards", "coins", "books", "shells", "plums", "stamps",
    "beads", "nuts", "figs", "pies", "keys", "buttons", "seeds", "stones",
)  # fmt: skip
"""What is counted; demonstrators are the less patient the earlier it stands: see `cppo_verl.toy.warmstart`."""
RESULTS = 10
"""Every number lies in 0..9."""
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
    def question(self) -> str:
        start, *changes = self.numbers
        first, second = (f"{phrase} {size}" for phrase, size in zip(self.phrases, changes, strict=True))
        return self.story.format(name=self.name, things=self.things, start=start, first=first, second=second)

    def reasoning(self, changes: int = 2) -> tuple[str, int]:
        """The worked text of the first `changes` changes, and the number that it ends at."""
        lines, value = [], self.numbers[0]
        for phrase, size in zip(self.phrases[:changes], self.numbers[1:], strict=False):
            before, value = value, value + PHRASES[phrase] * size
            lines.append(f"{phrase}: {before}{'+' if PHRASES[phrase] > 0 else '-'}{size}={value}")
        return "\n".join(lines), value

    def row(self) -> dict[str, str]:
        """The problem as a row of GSM8K's raw files."""
        text, result = self.reasoning()
        return {"question": self.question, "answer": f"{text}\n#### {result}"}


def number_triples(seed: int) -> dict[Split, list[tuple[int, int, int]]]:
    """All number triples, shuffled and dealt to the three splits."""
    triples = list(itertools.product(range(RESULTS), range(1, 5), range(1, 5)))
    random.Random(f"triples-{seed}").shuffle(triples)
    half, third = len(triples) // 2, len(triples) * 5 // 6
    return {"demo": triples[:half], "train": triples[half:third], "test": triples[third:]}


def problems(split: Split, seed: int) -> Iterator[Problem]:
    """An endless stream of problems of one split; questions may repeat."""
    rng = random.Random(f"{split}-{seed}")
    triples, phrases = number_triples(seed)[split], tuple(PHRASES)
    while True:
        problem = Problem(
            name=rng.choice(NAMES),
            things=rng.choice(THINGS),
            story=rng.choice(STORIES),
            numbers=rng.choice(triples),
            phrases=(rng.choice(phrases), rng.choice(phrases)),
        )
        if all(0 <= problem.reasoning(changes)[1] < RESULTS for changes in (1, 2)):
            yield problem


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

"""How the graders score rewritings and near misses of every gold, and formulas of the questions, by data set.

.venv/bin/python scripts/measure_rewards.py DATA [--sets math500 limr] [--limit N] [--shown 20]

DATA holds a folder for each data set, as in the tests (`CPPO_TEST_DATA`). A rewriting of the gold should score in full,
a near miss and a formula copied from the question should not.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/helpers"))

from gold_kinds import Variant
from near_misses import near_misses
from rewritings import formulas, respelled, rewritings

from cppo_verl.rewards import gsm8k, math, olympiad

THREADS = 2
KINDS = ("rewriting", "near miss", "formula")
LAYOUT = "<think>t</think>\n<answer>{}</answer>"


@dataclass(frozen=True)
class Set:
    """One data set: where its rows are, and what grades them."""

    file: str
    question: str
    gold: Callable[[dict], str]
    reward: object


@dataclass
class Counts:
    """What became of one kind of answer."""

    paid: int = 0
    all: int = 0
    odd: list[str] = field(default_factory=list)
    """What was not scored as it should be."""


SETS = {
    "math": Set("math/train.jsonl.gz", "problem", lambda row: math.parse_gold(row["solution"]), math),
    "math500": Set("math500/test.jsonl", "problem", lambda row: row["answer"], math),
    "limr": Set("limr/train.jsonl", "prompt", lambda row: row["answer"], math),
    "amc23": Set("amc23/test.jsonl", "problem", lambda row: math.parse_number(str(row["answer"])), math),
    "aime24": Set("aime24/test.jsonl", "problem", lambda row: math.parse_number(row["answer"]), math),
    "olympiadbench": Set(
        "olympiadbench/test.jsonl", "question", lambda row: olympiad.parse_gold(row["final_answer"][0]), olympiad
    ),
    "gsm8k": Set("gsm8k/test.jsonl", "question", lambda row: gsm8k.parse_gold(row["answer"]), gsm8k),
}
GSM8K_RIGHT = (
    *("{}", "${}", "{} dollars", "{}.", "**{}**", r"\${}", "{}.0", "x = {}", "{} cm^2", "{} units^2", r"{}\%"),
    *("{} percent", "a total of {}", "One day takes {} hours"),
)
GSM8K_WRONG = (
    *("twice {}", "{} and a half", "{}k", "{} million", "{} dozen", "half of {}", "seventy-one or {}", "{}!", "{}x"),
    *("{} and a quarter", "one less than {}", "one or {}", "square root of {}", "{} hundredths", "{} to the third"),
)


def read(folder: Path, data: Set, told: bool) -> Iterator[tuple[str, str, dict]]:
    """Question, gold and `extra_info` of each row that has a gold; `told`: with the question, as prepared data have."""
    path = folder / data.file
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for row in map(json.loads, lines):
            try:
                gold = data.gold(row)
            except ValueError:
                continue
            extra = {name: row.get(name) for name in ("unit", "error")}
            yield row[data.question], gold, extra | ({"question": row[data.question]} if told else {})


def variants(data: Set, question: str, gold: str) -> Iterator[tuple[str, Variant]]:
    """Everything to score for one row, by what it is."""
    if data.reward is gsm8k:
        for text in GSM8K_RIGHT:
            yield "rewriting", Variant(text, text.format(gold))
        if int(gold) >= 1000:
            for separator in (",", "{,}", r",\!", r"\,", " ", "\u202f"):
                yield "rewriting", Variant(separator, f"{int(gold):,}".replace(",", separator))
        for text in GSM8K_WRONG:
            yield "near miss", Variant(text, text.format(gold))
        return
    for kind, made in (("rewriting", rewritings), ("near miss", near_misses)):
        for variant in made(gold):
            yield kind, variant
    for text in formulas(question):
        if "".join(text.split()) != "".join(gold.split()):
            for copy in respelled(text):
                yield "formula", Variant("formula of the question", copy)


def accuracy(data: Set, gold: str, extra: dict, answer: str) -> float:
    """1 where the answer earns its accuracy reward."""
    text = answer if data.reward is gsm8k else rf"$\boxed{{{answer}}}$"
    return data.reward.compute_score("", LAYOUT.format(text), gold, extra)["acc"]


def measure(folder: Path, data: Set, limit: int | None, told: bool, kinds: Sequence[str]) -> dict[str, Counts]:
    """What became of every variant of a data set; formulas are counted by question."""
    counts = {kind: Counts() for kind in KINDS}
    rows = list(read(folder, data, told))[:limit]
    tasks = [
        (number, gold, extra, what, variant)
        for number, (question, gold, extra) in enumerate(rows)
        for what, variant in variants(data, question, gold)
        if what in kinds and not (what == "near miss" and extra.get("error"))  # what is near is right there
    ]
    with ThreadPoolExecutor(THREADS) as threads:
        scores = threads.map(lambda task: accuracy(data, task[1], task[2], task[4].answer), tasks)
        copied = {}
        for (number, gold, _, what, variant), score in zip(tasks, scores, strict=True):
            shown = f"{variant.kind}: {variant.answer!r} for {gold!r}"
            if what == "formula":
                copied[number] = max(score, copied.get(number, 0))
            else:
                counts[what].paid += int(score)
                counts[what].all += 1
            if score != (what == "rewriting"):
                counts[what].odd.append(shown)
    counts["formula"].paid, counts["formula"].all = int(sum(copied.values())), len(rows)
    return counts


def main() -> None:
    """Print the table, and what was not scored as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--limit", type=int, help="only the first rows of each set")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--question-untold", action="store_true", help="graders get no question to look for copies in")
    parser.add_argument("--shown", type=int, default=0, help="how many of each kind to print")
    args = parser.parse_args()
    heads = "data set", "rewritings in full", "near misses paid", "questions whose formula is paid"
    table = Table(*heads)
    for name in args.sets:
        found = measure(args.data, SETS[name], args.limit, not args.question_untold, args.kinds)
        table.add_row(name, *(f"{c.paid:,} of {c.all:,} ({c.paid / max(c.all, 1):.2%})" for c in found.values()))
        for kind, counts in found.items():
            if args.shown and counts.odd:
                print(f"{name}, {kind}:", dict(Counter(line.partition(":")[0] for line in counts.odd).most_common()))
                print(*counts.odd[: args.shown], sep="\n")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()

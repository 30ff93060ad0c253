"""Completions scored a second: this project's rewards against math-verify called in line, benign and with hostile ones.

.venv/bin/python scripts/bench_rewards.py [--count 600]

In line, math-verify has its own limit of 5 s, a signal, which works in a process's main thread alone: that is
where it is measured. Ours are called from two threads, as verl's reward worker does.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from math_verify import parse, verify
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/helpers"))

from hostile import GOLD, draw

from cppo_verl.rewards import gsm8k, math, symbolic

Score = Callable[[str, str], object]
HOSTILE_SHARE = 0.01


def benign(count: int, rng: random.Random) -> list[tuple[str, str]]:
    """Completions and golds, half of them right, in forms that MATH's answers have."""
    forms = ["{}", "\\frac{{{}}}{{7}}", "{}\\pi", "({}, 3)", "\\sqrt{{{}}}", "x^2+{}x", "{}\\%", "\\text{{{} cm}}"]
    rows = []
    for _ in range(count):
        form, number = rng.choice(forms), rng.randint(1, 999)
        answer, gold = form.format(number), form.format(number + rng.randint(0, 1))
        rows.append((f"<think>\nso\n</think>\n<answer>\\boxed{{ {answer} }}</answer>", gold))
    return rows


def in_line(completion: str, gold: str) -> bool:
    """math-verify as its README calls it."""
    return verify(parse(f"${gold}$"), parse(completion))


def per_second(score: Score, rows: Sequence[tuple[str, str]], threads: int) -> float:
    """Completions scored a second."""
    for row in rows[:20]:  # starts what has to be started
        score(*row)
    symbolic._remembered.cache_clear()
    start = time.perf_counter()
    if threads == 1:
        for row in rows:
            score(*row)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda row: score(*row), rows))
    return len(rows) / (time.perf_counter() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=600, help="completions")
    count = parser.parse_args().count
    rng = random.Random(0)
    rows = benign(count, rng)
    drawn = rng.sample(list(draw(200)), max(1, round(count * HOSTILE_SHARE)))  # of every family
    spoiled = [(hostile.text, GOLD) for hostile in drawn]
    mixed = rng.sample(rows, count - len(spoiled)) + spoiled
    rng.shuffle(mixed)
    scores: dict[str, tuple[Score, int]] = {
        "gsm8k, 2 threads": (partial(gsm8k.compute_score, ""), 2),
        "math, 1 worker": (partial(math.compute_score, ""), 1),
        "math, 2 workers": (partial(math.compute_score, ""), 2),
        "math-verify in line": (in_line, 1),
    }
    table = Table("completions a second", "benign", f"{HOSTILE_SHARE:.0%} hostile", title=f"{count} completions")
    for name, (score, threads) in scores.items():
        table.add_row(name, *(f"{per_second(score, part, threads):,.0f}" for part in (rows, mixed)))
    Console().print(table)


if __name__ == "__main__":
    main()

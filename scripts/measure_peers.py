"""How the graders and math-verify score what the suites of other graders say is right and wrong.

.venv/bin/python scripts/measure_peers.py [--facts tests/rewards/peers.jsonl]

Each line of the facts has a `gold`, an `answer`, whether it is `right`, and the `suite` that says so. math-verify is
called as its README shows, on the same completion.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from math_verify import parse, verify
from rich.console import Console
from rich.table import Table

from cppo_verl.rewards import math, olympiad

FACTS = Path(__file__).resolve().parents[1] / "tests/rewards/peers.jsonl"
REWARDS = {"math": math, "olympiad": olympiad}


def completion(fact: dict) -> str:
    """What is scored."""
    return rf"So it is $\boxed{{{fact['answer']}}}$."


def wrong_by_reward(reward: object, facts: Sequence[dict]) -> list[dict]:
    """The facts that a reward scores otherwise."""
    return [f for f in facts if reward.compute_score("", completion(f), f["gold"])["acc"] != f["right"]]


def wrong_by_math_verify(facts: Sequence[dict]) -> list[dict]:
    """The facts that plain math-verify scores otherwise."""
    return [f for f in facts if verify(parse(f"${f['gold']}$"), parse(completion(f))) != f["right"]]


def main() -> None:
    """Print the table, and what a reward scores otherwise than its suite."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facts", type=Path, default=FACTS)
    facts = [json.loads(line) for line in parser.parse_args().facts.read_text().splitlines()]
    theirs = wrong_by_math_verify(facts)
    table = Table("", f"wrong of {len(facts)} facts", "of them right by math-verify")
    for name, reward in REWARDS.items():
        ours = wrong_by_reward(reward, facts)
        table.add_row(name, str(len(ours)), str(len([fact for fact in ours if fact not in theirs])))
        print(*(f"{name}: {fact}" for fact in ours), sep="\n", end="\n" if ours else "")
    table.add_row("math-verify", str(len(theirs)), "")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()

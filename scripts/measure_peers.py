"""How the graders and math-verify score what the suites of other graders say is right and wrong.

.venv/bin/python scripts/measure_peers.py

The facts are those of `tests/rewards/peers.jsonl`. math-verify is called as its README shows, on the same completion.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from math_verify import parse, verify
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/helpers"))

from peers import completion, read_facts, wrong_by_reward

from cppo_verl.rewards import math, olympiad

REWARDS = {"math": math, "olympiad": olympiad}


def wrong_by_math_verify(facts: list[dict]) -> list[dict]:
    """The facts that plain math-verify scores otherwise."""
    return [f for f in facts if verify(parse(f"${f['gold']}$"), parse(completion(f))) != f["right"]]


def main() -> None:
    """Print the table, and what a reward scores otherwise than its suite."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    facts = read_facts()
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

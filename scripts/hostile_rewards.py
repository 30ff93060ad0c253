"""Score a generated corpus of hostile completions with every reward: what hung, crashed or was mis-scored.

.venv/bin/python scripts/hostile_rewards.py [--count 2800] [--seed 0]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/helpers"))

from hostile import GOLD, Hostile, draw

from cppo_verl.rewards import gsm8k, math, olympiad

REWARDS = {"gsm8k": gsm8k.compute_score, "math": math.compute_score, "olympiad": olympiad.compute_score}
LIMIT_S = {"gsm8k": 1.0, "math": math.TIME_LIMIT_S + 2, "olympiad": math.TIME_LIMIT_S + 2}
"""Seconds that a score may take: the comparison's own limit, and the replacement of a killed worker."""
THREADS = 2
"""As many as there are comparison workers: with more, the wait for a worker would be counted as scoring."""


def score(case: tuple[str, Hostile]) -> tuple[str, str, str, float]:
    """Reward, family, what became of it, and seconds."""
    reward, hostile = case
    start = time.monotonic()
    try:
        found = REWARDS[reward]("", hostile.text, GOLD, {})
    except Exception as error:  # noqa: BLE001  (a reward must never raise: this is what is looked for)
        return reward, hostile.family, f"raised {type(error).__name__}", time.monotonic() - start
    seconds = time.monotonic() - start
    if seconds > LIMIT_S[reward]:
        return reward, hostile.family, "too slow", seconds
    if found["acc"]:
        return reward, hostile.family, "mis-scored", seconds
    return reward, hostile.family, "gave up, 0" if found.get("verify_failed") else "wrong, 0", seconds


def main() -> int:
    """Returns the exit code: 1 if anything raised, was too slow or was taken for right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2800, help="completions, each scored by every reward")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    cases = [(reward, hostile) for hostile in draw(args.count, args.seed) for reward in REWARDS]
    became, slowest = defaultdict(Counter), Counter()
    with ThreadPoolExecutor(THREADS) as threads:
        for _, family, what, seconds in track(threads.map(score, cases), "scoring", total=len(cases)):
            became[family][what] += 1
            slowest[family] = max(slowest[family], seconds)
    kinds = sorted({what for counts in became.values() for what in counts})
    table = Table("family", *kinds, "slowest (s)", title=f"{args.count:,} completions, {len(cases):,} scores")
    for family, counts in became.items():
        table.add_row(family, *(str(counts[kind]) for kind in kinds), f"{slowest[family]:.2f}")
    Console().print(table)
    return int(any(kind not in ("wrong, 0", "gave up, 0") for kind in kinds))


if __name__ == "__main__":
    sys.exit(main())

"""Score a generated corpus of hostile completions with every reward: what hung, crashed or was mis-scored.

.venv/bin/python scripts/hostile_rewards.py [--count 2800] [--seed 0] [--timeout 5]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/helpers"))

from hostile import GOLD, Hostile, draw

from cppo_verl.rewards import gsm8k, math, olympiad, symbolic
from cppo_verl.rewards.worker import PATIENCE

REWARDS = {"gsm8k": gsm8k.compute_score, "math": math.compute_score, "olympiad": olympiad.compute_score}
REPLACEMENT_S = 2.0
"""Seconds that a score may take beyond the comparison's limit: a killed worker is replaced."""
HUNG_S = 120.0
"""Seconds after which a score is given up."""
THREADS = 2
"""As many as there are comparison workers: with more, the wait for a worker would be counted as scoring."""
LAYOUT = 1.0
"""What the layout alone earns: no hostile completion may earn more."""
GOOD = "wrong", "given up"
UNREAD = "no_answer", "too_long"
"""Outcomes of the MATH reward that math-verify is not asked for."""


def score(reward: str, hostile: Hostile, timeout: float) -> tuple[str, float, str]:
    """What became of it, seconds, and the outcome the reward gives."""
    start = time.monotonic()
    try:
        found = REWARDS[reward]("", hostile.text, GOLD, {}, timeout=timeout)
    except Exception as error:  # noqa: BLE001  (a reward must never raise: this is what is looked for)
        return f"raised {type(error).__name__}", time.monotonic() - start, ""
    seconds = time.monotonic() - start
    if seconds > PATIENCE * timeout + REPLACEMENT_S:
        what = "too slow"
    elif found["acc"] or found["score"] != found["format"] * LAYOUT:
        what = "mis-scored"
    else:
        what = "given up" if found["verify_failed"] else "wrong"
    return what, seconds, found["outcome"]


def main() -> int:
    """Returns the exit code: 1 if anything raised, was too slow or was taken for right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2800, help="completions, each scored by every reward")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--timeout", type=float, default=symbolic.TIME_LIMIT_S, help="seconds of processor time a comparison may take"
    )
    args = parser.parse_args()
    became, slowest, parsed, hung = defaultdict(Counter), Counter(), Counter(), False
    threads = ThreadPoolExecutor(THREADS)
    cases = [(reward, hostile) for hostile in draw(args.count, args.seed) for reward in REWARDS]
    scored = [(*case, threads.submit(score, *case, args.timeout)) for case in cases]
    for reward, hostile, future in track(scored, "scoring", total=len(cases)):
        family, outcome = hostile.family, ""
        try:
            what, seconds, outcome = future.result(timeout=HUNG_S)
        except FutureTimeout:
            what, seconds, hung = "hung", HUNG_S, True
        became[family][what] += 1
        slowest[family] = max(slowest[family], seconds)
        parsed[family] += reward == "math" and outcome not in UNREAD
        if hung:
            break
    bad = sorted({what for counts in became.values() for what in counts} - set(GOOD))
    kinds = [*GOOD, *(bad or ["mis-scored, raised, too slow or hung"])]
    title = f"{args.count:,} different completions, {len(cases):,} scores; {parsed.total():,} reached MATH's parser"
    table = Table("family", *kinds, "reached the parser", "slowest (s)", title=title)
    for family, counts in became.items():
        table.add_row(family, *(str(counts[kind]) for kind in kinds), str(parsed[family]), f"{slowest[family]:.2f}")
    table.add_section()
    total = sum(became.values(), Counter())
    longest = f"{max(slowest.values()):.2f}"
    table.add_row("all", *(str(total[kind]) for kind in kinds), str(parsed.total()), longest)
    Console().print(table)
    sys.stdout.flush()
    os._exit(int(bool(bad))) if hung else threads.shutdown()  # a thread that hangs would be waited for
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())

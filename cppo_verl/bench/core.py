"""Time `select_completions` and the allocator against a plain `torch.topk` and a plain Python loop.

    python -m cppo_verl.bench.core [--rows 1000 100000 1000000] [--repeat 5]

The top-k is given what it needs: groups of equal size, in order, and no care for ties. The ratio to it is
the price of the rest.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import get_args

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from cppo_verl.algorithm.allocation import Allocation, Allocator
from cppo_verl.algorithm.options import CPPOConfig, Metric
from cppo_verl.algorithm.pruning import select_completions
from cppo_verl.algorithm.step_plan import StepPlan

GROUP, KEEP = 16, 4
LOOP_LIMIT = 100_000
"""Rows above which the Python loop is left out."""


def advantages(num_groups: int) -> torch.Tensor:
    """GRPO's, `(num_rows,)`, of rewards as a rule-based function gives them: few values, many ties."""
    rng = np.random.default_rng(0)
    chance = rng.beta(1, 1, (num_groups, 1))
    right, tagged = (torch.from_numpy(rng.random((num_groups, GROUP)) < chance) for _ in range(2))
    rewards = 2.0 * right + tagged
    return ((rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-6)).flatten()


def top_k(values: torch.Tensor) -> torch.Tensor:
    columns = values.abs().view(-1, GROUP).topk(KEEP, dim=1).indices
    return (columns + torch.arange(0, len(values), GROUP)[:, None]).flatten().sort().values


def python_loop(values: torch.Tensor, groups: np.ndarray) -> list[int]:
    rows = defaultdict(list)
    for row, group in enumerate(groups.tolist()):
        rows[group].append(row)
    strength = values.abs().tolist()
    return sorted(row for group in rows.values() for row in sorted(group, key=lambda r: -strength[r])[:KEEP])


def allocate(values: torch.Tensor, groups: np.ndarray, ids: np.ndarray) -> Allocation:
    """What a step does between its advantages and its forwards."""
    rows = len(values) // GROUP * KEEP
    allocator = Allocator(StepPlan(GROUP, KEEP, len(values) // GROUP, rows, rows, 1), CPPOConfig(1 - KEEP / GROUP))
    allocator.add(values, groups, ids)
    return allocator.take()


def contestants(num_rows: int) -> dict[str, Callable[[], object]]:
    num_groups = num_rows // GROUP
    values = advantages(num_groups)
    groups = np.repeat(np.array([f"question-{i}" for i in range(num_groups)], dtype=object), GROUP)
    ids = np.array([f"{group}:{row}" for row, group in enumerate(groups)], dtype=object)
    select = partial(select_completions, values, groups, KEEP, row_ids=ids)
    timed = {"torch.topk": partial(top_k, values)}
    timed |= {metric: partial(select, metric=metric) for metric in get_args(Metric)}
    timed["a step's allocator"] = partial(allocate, values, groups, ids)
    return timed | ({"python loop": partial(python_loop, values, groups)} if num_rows <= LOOP_LIMIT else {})


def median_ms(run: Callable[[], object], repeat: int) -> float:
    run()  # warm-up
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 100_000, 1_000_000])
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    if min(args.rows) < GROUP:
        parser.error(f"--rows must be at least {GROUP}, one group")
    results = {
        size: {name: median_ms(run, args.repeat) for name, run in contestants(size).items()} for size in args.rows
    }
    table = Table(title=f"keep {KEEP} of {GROUP}: median of {args.repeat}, ms (times torch.topk)")
    table.add_column("")
    for size in args.rows:
        table.add_column(f"{size // GROUP * GROUP:,} rows", justify="right")
    for name in [*contestants(GROUP)]:
        cells = ((times.get(name), times["torch.topk"]) for times in results.values())
        table.add_row(name, *(f"{ms:,.2f} ({ms / base:,.0f}x)" if ms else "-" for ms, base in cells))
    Console().print(table)


if __name__ == "__main__":
    main()

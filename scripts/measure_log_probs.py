"""Measure `trainer/log_probs.py` beside the function of verl's that it replaces, on one core of the CPU.

python scripts/measure_log_probs.py [--tokens 4096] [--geometry small] [--rounds 5]

First the function alone, on logits of a geometry's vocabulary: the operations that launch a kernel on a GPU, counted by
`torch.profiler`; whether values and gradients are bit-identical; processor time. Then its share of what a worker does:
verl's own FSDP2 engine on one rank takes old log-probs of one micro-batch, and updates on it, with either function.
The two take turns, and times and ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

os.environ["VERL_PLATFORM"] = "cpu"

import torch
from one_rank import forward, micro_batch, one_rank, update
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile
from verl.utils import torch_functional

from cppo_verl.hardware.shapes import find_geometry
from cppo_verl.trainer import log_probs

Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
OF = {"verl's": log_probs.verls, "ours": log_probs.log_probs}
LENGTH = 128
"""Tokens of a sequence of the micro-batch."""
NO_KERNEL = {"aten::empty", "aten::empty_strided", "aten::as_strided", "aten::view", "aten::expand", "aten::detach"}
"""Operations of which nothing is left to compute when all that they call is taken out."""


class Timed(NamedTuple):
    """Processor seconds of either function, and verl's over ours."""

    verls: float
    ours: float
    ratio: float


def main() -> None:
    """Print two tables."""
    args = _parse_args()
    torch.set_num_threads(1)
    print_table(
        ("", "operations, forward", "and backward", "time (s), forward", "and backward", "bit-identical"),
        alone(args.tokens, find_geometry(args.geometry).shape["vocab_size"], args.rounds),
        f"{args.tokens:,} packed tokens",
    )
    print_table(
        ("", "pass (s), verl's", "ours", "function alone (s), verl's", "ours", "share, verl's", "ours", "pass, ratio"),
        shares(args.geometry, args.tokens, args.rounds),
        f"a worker's pass over {args.tokens:,} tokens, {args.geometry}",
    )


def alone(tokens: int, vocabulary: int, rounds: int) -> list[list[str]]:
    """The function alone: rows of the first table."""
    rows = []
    for dtype in (torch.bfloat16, torch.float32):
        runs = {name: make_runs(function, tokens, vocabulary, dtype) for name, function in OF.items()}
        same = all(map(torch.equal, *(outcome(function, tokens, vocabulary, dtype) for function in OF.values())))
        timed = [in_turn(*(run[part] for run in runs.values()), rounds) for part in (0, 1)]
        for side, (name, parts) in enumerate(runs.items()):
            kernels, seconds = [f"{count_kernels(run):,}" for run in parts], [f"{t[side]:.4f}" for t in timed]
            rows.append([f"{_name(dtype)}, {name}", *kernels, *seconds, "yes" if same else "no"])
        rows.append([f"{_name(dtype)}, ratio", "", "", *(f"{t.ratio:.0f}" for t in timed), ""])
    return rows


def shares(geometry: str, tokens: int, rounds: int) -> list[list[str]]:
    """What part of a worker's pass the function takes: rows of the second table."""
    vocabulary, rows = find_geometry(geometry).shape["vocab_size"], []
    settings = {"float32, padded (device=cpu)": {}, "bfloat16, packed": {"half": True, "packed": True}}
    for name, setting in settings.items():
        dtype = torch.bfloat16 if setting.get("half") else torch.float32
        runs = [make_runs(function, tokens, vocabulary, dtype) for function in OF.values()]
        with one_rank(geometry, **setting, checkpointing=False) as engine:
            batch = micro_batch(tokens, LENGTH, packed=setting.get("packed", False))
            for part, (what, run) in enumerate({"old log-probs": forward, "update": update}.items()):
                passes = in_turn(*(with_function(f, run, engine, batch) for f in OF.values()), rounds)
                own = in_turn(*(pair[part] for pair in runs), rounds)
                share = (f"{own[side] / passes[side]:.0%}" for side in (0, 1))
                seconds = (f"{t:.4f}" for t in (*passes[:2], *own[:2]))
                rows.append([f"{what}, {name}", *seconds, *share, f"{passes.ratio:.2f}"])
    return rows


def with_function(function: Function, run: Callable[..., None], *args: object) -> Callable[[], None]:
    """A pass of the engine, for which verl's module holds this function."""

    def replaced() -> None:
        torch_functional.logprobs_from_logits_v2 = function
        run(*args)

    return replaced


def make_runs(
    function: Function, tokens: int, vocabulary: int, dtype: torch.dtype
) -> tuple[Callable[[], object], Callable[[], object]]:
    """The forward, and forward and backward, on the same logits."""
    logits, labels = made_up(tokens, vocabulary, dtype)
    tracked = logits.clone().requires_grad_()

    def only_forward() -> None:
        with torch.no_grad():
            function(logits, labels)

    def both() -> None:
        torch.autograd.grad(function(tracked, labels).sum(), tracked)

    return only_forward, both


def outcome(function: Function, tokens: int, vocabulary: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Values, and gradients of a weighted sum of them."""
    logits, labels = made_up(tokens, vocabulary, dtype)
    logits.requires_grad_()
    values = function(logits, labels)
    return values.detach(), torch.autograd.grad((values * torch.linspace(-1, 1, tokens)).sum(), logits)[0]


def made_up(tokens: int, vocabulary: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits `(tokens, vocabulary)` and labels `(tokens,)`, the same each time."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn((tokens, vocabulary), generator=generator)
    return logits.to(dtype), torch.randint(0, vocabulary, (tokens,), generator=generator)


def count_kernels(run: Callable[[], object]) -> int:
    """Operations that call no other, without those that compute nothing."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        run()
    events = profiled.events()
    return sum(e.name.startswith("aten::") and not e.cpu_children and e.name not in NO_KERNEL for e in events)


def in_turn(verls: Callable[[], object], ours: Callable[[], object], rounds: int) -> Timed:
    """Both, one after the other, `rounds` times after a first for warmth."""
    pairs = [(_seconds(verls), _seconds(ours)) for _ in range(rounds + 1)][1:]
    return Timed(*map(median, zip(*pairs, strict=True)), median(a / b for a, b in pairs))


def _seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def print_table(header: tuple[str, ...], rows: list[list[str]], title: str) -> None:
    """Numbers to the right."""
    table = Table(title=title)
    for column, name in enumerate(header):
        table.add_column(name, justify="right" if column else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=140).print(table)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=4096, help="of the micro-batch")
    parser.add_argument("--geometry", default="small", help="of cppo_verl/hardware/shape_files")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()

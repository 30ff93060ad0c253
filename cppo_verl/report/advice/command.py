"""`cppo-verl advise`: what pruning would make of a run, from its log."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cppo_verl.console import open_console
from cppo_verl.report.advice.facts import Facts, facts_of
from cppo_verl.report.advice.logs import read_training
from cppo_verl.report.advice.model import Advice, advise, percent
from cppo_verl.report.advice.remarks import remarks
from cppo_verl.report.split import Split


def show_advice(run: Path, rollout_n: int | None = None, as_json: bool = False) -> None:
    """Print the split of a step, the ratios at each P and what to do.

    Args:
        run: A run's folder, or a log of verl.
        rollout_n: G, where the log does not tell it.
        as_json: For a program, instead of tables.

    Raises:
        ConfigError: The log cannot be read, or is not that of a GRPO run; see `read_training` and `facts_of`.
    """
    log = read_training(run)
    facts = facts_of(log, rollout_n)
    advice = advise(facts)
    further = remarks(facts, advice.use)
    if as_json:
        print(json.dumps(record(facts, advice, further), indent=1))
    else:
        show(facts, advice, further, log.left_out, open_console())


def record(facts: Facts, advice: Advice, further: list[str]) -> dict:
    """All of it: seconds of a step by phase, ratios by P, `use` (null: do not prune) and the sentences."""
    return {
        "steps": facts.steps,
        "G": facts.rollout_n,
        "seconds": dict(facts.split.seconds),
        "choices": [
            {"P": choice.written, "k": choice.keep, "pruning_only": choice.pruning_only, "allocated": choice.allocated}
            for choice in advice.choices
        ],
        "limit": advice.limit,
        "use": advice.use and advice.use.written,
        "sentence": advice.sentence,
        "remarks": further,
    }


def show(facts: Facts, advice: Advice, further: list[str], left_out: int, console: Console) -> None:
    """The same for people."""
    console.print(_split_table(facts, left_out), _ratio_table(advice))
    console.print(_limit(facts.split, advice), highlight=False)
    console.print(advice.sentence, style="bold", highlight=False)
    if further and not advice.use:
        console.print("What would help instead:")
    for remark in further:
        console.print(f"- {remark}", highlight=False)


def _limit(split: Split, advice: Advice) -> str:
    return (
        f"If the old and reference log-probs and the update cost nothing, {split.total / advice.limit:.2f} of "
        f"{split.total:.2f} s would be left: {advice.limit:.2f}x. All of this is estimated from one split; "
        "docs/scaling.md says how far off that was where it was measured."
    )


def _split_table(facts: Facts, left_out: int) -> Table:
    title = f"mean of {facts.steps} step(s), {left_out} left out"
    table = Table("phase", "seconds", "share", title=title)
    for phase, seconds in facts.split.seconds.items():
        if seconds:
            table.add_row(phase, f"{seconds:.2f}", percent(facts.split.share(phase)))
    table.add_row("total", f"{facts.split.total:.2f}", "")
    return table


def _ratio_table(advice: Advice) -> Table:
    table = Table("P", "k", "pruning only", "with allocation", title="times as fast as this run")
    for choice in advice.choices:
        ratios = (f"{ratio:.2f}x" for ratio in (choice.pruning_only, choice.allocated))
        table.add_row(choice.written, str(choice.keep), *ratios, style="bold" if choice == advice.use else None)
    return table

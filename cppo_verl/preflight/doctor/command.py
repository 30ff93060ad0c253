"""`cppo-verl doctor`: what a first run stumbles over, and what to do about it."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.text import Text

from cppo_verl.console import open_console
from cppo_verl.preflight.doctor import gpus, packages, surroundings
from cppo_verl.preflight.doctor.facts import Facts, gather
from cppo_verl.preflight.doctor.finding import Finding

JUDGES: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    *(packages.python, packages.packages),
    *(gpus.cuda, gpus.driver, gpus.gpus, gpus.nccl, gpus.compiler),
    *(surroundings.memory, surroundings.shm, surroundings.open_files, surroundings.disks, surroundings.tmp),
    *(surroundings.hub, surroundings.proxies, surroundings.ray, surroundings.run),
)
STYLES = {"ok": "green", "warning": "yellow", "error": "bold red", "not there": "dim"}


def doctor(as_json: bool = False, run_folder: Path | None = None) -> int:
    """Look at this machine and print what was found.

    Args:
        as_json: For a bug report, instead of lines.
        run_folder: Of the run that is to be started, if one is named.

    Returns:
        The exit code: 1 where something stops a run.
    """
    facts = gather(run_folder)
    findings = judge(facts)
    if as_json:
        report = {"platform": platform.platform(), "versions": dict(facts.packages.versions)}
        print(json.dumps(report | {"findings": [dataclasses.asdict(f) for f in findings]}, indent=1))
    else:
        show(findings)
    return int(any(finding.status == "error" for finding in findings))


def examine(run_folder: Path | None = None) -> list[Finding]:
    """What is to be said of this machine, and of a run in `run_folder`."""
    return judge(gather(run_folder))


def judge(facts: Facts) -> list[Finding]:
    """What is to be said of these facts."""
    return [finding for say in JUDGES for finding in say(facts)]


def show(findings: Sequence[Finding]) -> None:
    """Print a line each, coloured on a terminal, and a last one that counts."""
    console = open_console()
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        line = Text().append(f"{finding.status:<11}", style=STYLES[finding.status])
        line.append(f"{finding.name:<{width}}  {finding.found}")
        if finding.remedy:
            line.append(f" -> {finding.remedy}", style="bold" if finding.status in ("warning", "error") else "")
        console.print(line, soft_wrap=True)
    console.print(_summary(Counter(finding.status for finding in findings)))


def _summary(counts: Counter[str]) -> str:
    errors, warnings = counts["error"], counts["warning"]
    if errors:
        return f"{errors} thing{'s' * (errors > 1)} stop{'s' * (errors == 1)} a run (error), {warnings} to look at"
    return f"Nothing stops a run; {warnings} to look at (warning)" if warnings else "Nothing stops a run."

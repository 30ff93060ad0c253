"""The evaluation through vLLM: the same twice, and after a kill."""

from __future__ import annotations

import json
import time
from pathlib import Path
from subprocess import Popen


def test_a_killed_evaluation_goes_on_to_the_same_results(evaluate):
    """64 samples of 16 questions: in one go, and with SIGKILL after the first that were written."""
    sampled = ("sampling.samples=64", "sampling.temperature=1")
    whole = evaluate("whole", *sampled)

    def kill(process: Popen) -> None:
        generations = whole.parent / "killed/generations.jsonl"
        while process.poll() is None and not (generations.is_file() and generations.read_bytes()):
            time.sleep(0.01)
        process.kill()

    killed = evaluate("killed", *sampled, meanwhile=kill, ok=False)
    assert 0 < len(lines(killed)) < 1024 == len(lines(whole))
    assert not (killed / "results.json").exists()
    evaluate("killed", *sampled)
    assert (killed / "results.json").read_bytes() == (whole / "results.json").read_bytes()
    assert sorted(lines(killed)) == sorted(lines(whole))
    result = json.loads((whole / "results.json").read_text())["benchmarks"]["toy"]
    assert result["accuracy"] <= result["pass@2"] <= result["pass@64"]


def lines(folder: Path) -> list[str]:
    """The generations, in the order in which they finished."""
    return (folder / "generations.jsonl").read_text().splitlines()

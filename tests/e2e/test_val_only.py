"""A validation alone, in the folder of a run that was trained, on both of verl's trainers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recorded import read_metrics

CHANGES = ("log.txt", "output.log", "progress.jsonl", ".lock", "validation_")
"""What a validation writes: what it prints, what it does, and its result."""


def files(folder: Path) -> dict[str, bytes]:
    kept = (path for path in folder.rglob("*") if path.is_file() and "calls" not in path.parts)
    return {name: path.read_bytes() for path in kept if not (name := str(path.relative_to(folder))).startswith(CHANGES)}


STEP_OF = {"auto": 2, "resume_path": 1, "disable": 0}
"""By `trainer.resume_mode`: the step whose weights are validated. Which it is, is decided where V0 and V1 are one."""


@pytest.mark.parametrize(
    ("generation", "modes"), [("trainer.use_v1=false", tuple(STEP_OF)), ("trainer.use_v1=true", ("resume_path",))]
)
def test_a_validation_changes_nothing_of_a_run(generation, modes, train):
    run = train("run", generation, "trainer.save_freq=1", "trainer.test_freq=1")
    before, logged = files(run.folder), read_metrics(run.folder)
    alone = generation, "trainer.val_only=true", "trainer.val_before_train=true"
    path = f"trainer.resume_from_path={run.folder}/global_step_1"
    for number, mode in enumerate(modes, 1):
        train("run", *alone, f"trainer.resume_mode={mode}", *([path] if mode == "resume_path" else []))
        assert files(run.folder) == before
        (line,) = (run.folder / f"validation_{number}.jsonl").read_text().splitlines()
        found, step = json.loads(line), STEP_OF[mode]
        assert found["step"] == step
        expected = {name: value for name, value in logged.get(step, {}).items() if name.startswith("val-core/")}
        assert expected.items() <= found["data"].items() and (expected or not step)

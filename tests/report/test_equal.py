"""Accuracy at equal cost."""

from __future__ import annotations

import pytest
import report_runs as made
from report_runs import make_run

from cppo_verl.report import show
from cppo_verl.report.equal import equal_cost
from cppo_verl.report.groups import group_runs
from cppo_verl.report.runs import read_run


def test_by_hand(tmp_path):
    """GRPO: 40 s and 16 questions from 30 % to 60 %; CPPO: 28 s for the same questions, from 30 % to 70 %."""
    grpo = [make_run(tmp_path / f"grpo{s}", accuracies=(0.3, end), seed=s) for s, end in enumerate((0.55, 0.6, 0.65))]
    cppo = make_run(tmp_path / "cppo", rate=0.5, steps=2, accuracies=(0.3, 0.7))
    table = equal_cost(group_runs([*map(read_run, grpo), read_run(cppo)]))
    found = {(row["cost"], row["share"], row["label"][:4]): row for row in table.to_dict("records")}
    assert found["seconds", 0.5, "GRPO"]["accuracy"] == pytest.approx(45)
    assert found["seconds", 0.5, "CPPO"]["accuracy"] == pytest.approx(30 + 40 * 20 / 28)
    assert found["questions", 0.25, "CPPO"]["accuracy"] == pytest.approx(40)
    assert found["seconds", 1.0, "CPPO"]["ended"] and found["seconds", 1.0, "CPPO"]["accuracy"] == pytest.approx(70)
    assert not found["questions", 1.0, "CPPO"]["ended"]
    assert found["seconds", 1.0, "GRPO"]["accuracy low"] < 60 < found["seconds", 1.0, "GRPO"]["accuracy high"]
    shown = show.equal_cost(table)
    assert list(shown.columns) == ["accuracy (%) after", *(f"{s} s" for s in (10, 20, 40)), *QUESTIONS]
    assert shown["40 s"].iloc[1] == ">= 70.0" and shown["16 questions"].iloc[1] == "70.0"


QUESTIONS = ("4 questions", "8 questions", "16 questions")


def test_short_runs_have_a_column_for_each_amount(tmp_path):
    """A step of 4 questions and a fifth of a second: the quarter and the half of it are both 0, rounded."""
    runs = [make_run(tmp_path / f"run{steps}", steps=steps, speed=speed) for steps, speed in ((1, -0.09), (2, 1.0))]
    shown = show.equal_cost(equal_cost(group_runs([read_run(run) for run in runs])))
    assert len(shown.columns) == 1 + 3 + 3 and list(shown.columns)[-3:] == ["1 questions", "2 questions", "4 questions"]


def test_without_curves_there_is_no_table(tmp_path):
    entries = [entry for entry in made.lines() if entry["step"]]  # not validated before training
    runs = [made.write(tmp_path / "grpo", entries), make_run(tmp_path / "cppo", rate=0.5, steps=2)]
    assert equal_cost(group_runs([read_run(run) for run in runs])).empty

"""The driver's benchmark, on a step of a few rows: its step is the trainer's own."""

import pytest

from cppo_verl.bench import driver
from cppo_verl.bench.alone import STAGES, CpuTimes, LoneStep

ROWS, RANKS = 64, 2
SHORT = ("data.max_prompt_length=12", "data.max_response_length=16")


def step_of(rate: str) -> LoneStep:
    step = LoneStep(driver.settings(rate, ROWS, RANKS, SHORT))
    step.times()
    return step


def test_every_stage_is_timed():
    times = driver.stages(driver.settings("0.75", ROWS, RANKS, SHORT), repeat=1)
    assert times.keys() == set(STAGES.values())
    assert all(milliseconds > 0 for milliseconds in times.values())


def test_a_step_is_sent_and_trains_on_what_is_kept():
    whole, pruned = step_of("0"), step_of("0.75")
    assert whole.metrics["cppo/completions_sampled"] == pruned.metrics["cppo/completions_sampled"] == ROWS
    assert whole.metrics["cppo/completions_kept"] == 4 * pruned.metrics["cppo/completions_kept"] == ROWS
    assert whole.metrics["cppo/bytes_sent"] == 4 * pruned.metrics["cppo/bytes_sent"]
    assert whole.metrics["cppo/updates"] == pruned.metrics["cppo/updates"] == 1


def test_a_stage_within_another_counts_for_itself_alone(monkeypatch):
    clock = iter([0.0, 1.0, 4.0, 6.0])
    monkeypatch.setattr("cppo_verl.bench.alone.time.process_time", lambda: next(clock))
    times = CpuTimes(outer=0.0, inner=0.0)
    with times.of("outer"), times.of("inner"):
        pass
    assert times == {"outer": 3.0, "inner": 3.0}


def test_ranks_that_share_no_step_are_refused(capsys):
    with pytest.raises(SystemExit):
        driver.main(["--completions=64", "--ranks=3", "--rates=0.75"])
    assert "3" in capsys.readouterr().err

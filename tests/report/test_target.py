"""Time to accuracy: crossings, medians with runs that never get there, intervals over seeds, the sentence of it."""

from __future__ import annotations

from math import inf, isnan, nan, sqrt

import numpy as np
import pandas as pd
import pytest
import report_runs as made
from click import BadParameter
from command import cppo_verl
from report_runs import make_run
from scipy.stats import bootstrap

from cppo_verl.algorithm.metrics import SUBSET
from cppo_verl.report import show, stats, tables, texts
from cppo_verl.report.groups import group_runs
from cppo_verl.report.headline import headlines
from cppo_verl.report.runs import read_run
from cppo_verl.report.single import single_run
from cppo_verl.report.target import default_target, first_crossing, to_target


def seeds(name: str, ends: list[float], **options) -> dict[str, dict]:
    """A run a seed, each from 30 % to one of the ends."""
    return {f"{name}{s}": {"seed": s, "accuracies": (0.3, end)} | options for s, end in enumerate(ends)}


def said(groups, target: float | None = None) -> list[str]:
    target = default_target(groups) if target is None else target
    return headlines(to_target(groups, target), tables.results(groups))


CPPO = {"rate": 0.5, "steps": 2}
"""28 s for the 16 questions that GRPO takes 40 s for."""

# --- one run ---


@pytest.mark.parametrize(
    ("accuracy", "target", "cost"),
    [
        ([0.3, 0.5, 0.7], 0.6, 15),
        ([0.3, 0.5, 0.7], 0.5, 10),
        ([0.3, 0.5, 0.7], 0.7, 20),
        ([0.3, 0.5, 0.7], 0.71, inf),
        ([0.3, 0.5, 0.7], 0.2, 0),
        ([0.3, 0.7, 0.5, 0.7][:3], 0.6, 7.5),  # the first time counts
        ([0.5, 0.3, 0.7], 0.4, 0),
        ([], 0.5, nan),
    ],
)
def test_the_first_crossing(accuracy, target, cost):
    assert first_crossing([0, 10, 20][: len(accuracy)], accuracy, target) == pytest.approx(cost, nan_ok=True)


def test_a_run_that_was_not_validated_before_training_is_there_at_its_first_validation():
    assert first_crossing([10, 20], [0.5, 0.6], 0.4) == 10


# --- the table ---


def test_by_hand(tmp_path):
    """The default target is 95 % of the first run's end; validations take no time."""
    entries = made.lines()
    for entry in entries:
        entry["data"]["timing_s/testing"] = 100.0
    runs = [made.write(tmp_path / "grpo", entries), make_run(tmp_path / "cppo", accuracies=(0.3, 0.7), **CPPO)]
    groups = group_runs([read_run(run) for run in runs])
    grpo, cppo = to_target(groups, default_target(groups)).to_dict("records")
    assert grpo["target"] == pytest.approx(57)
    assert (grpo["seconds"], grpo["questions"], grpo["updates"]) == pytest.approx((36, 14.4, 14.4))
    assert (cppo["seconds"], cppo["questions"], cppo["updates"]) == pytest.approx((18.9, 10.8, 10.8))
    assert (grpo["speed-up"], cppo["speed-up"]) == pytest.approx((1, 36 / 18.9))
    assert isnan(cppo["seconds low"]) and isnan(cppo["speed-up low"]), "one seed"
    assert said(groups) == ["CPPO reached 57 % after 19 s, GRPO after 36 s: 1.9x sooner; at the end 70 % and 60 %."]


def test_a_run_that_never_gets_there_counts_as_never(grouped):
    groups = grouped(seeds("grpo", [0.6] * 5) | seeds("cppo", [0.7, 0.7, 0.7, 0.7, 0.4], **CPPO))
    row = to_target(groups, 0.55).iloc[1]
    assert (row["runs"], row["reached"]) == (5, 4)
    assert row["seconds"] == pytest.approx(28 * 0.25 / 0.4)
    groups = grouped(seeds("g", [0.6] * 5) | seeds("c", [0.7, 0.7, 0.4, 0.4, 0.4], **CPPO))
    table = to_target(groups, 0.55)
    row, shown = table.iloc[1], show.to_target(table).iloc[1]
    assert row["seconds"] == inf and row["speed-up"] == 0
    assert shown["reached by"] == "2 of 5"
    assert shown["time (s) [95 % interval]"] == "never [17.5, never]"
    assert shown["sooner than the first [95 % interval]"].startswith("never [never, ")


def test_fewer_than_three_seeds_make_no_interval(grouped):
    groups = grouped(seeds("grpo", [0.58, 0.6, 0.62]) | seeds("cppo", [0.7, 0.72], **CPPO))
    table = to_target(groups, 0.5)
    assert table["seconds low"].notna().tolist() == [True, False]
    assert table["speed-up low"].isna().all()
    assert "too few for an interval over the seeds: CPPO, P=0.5." in texts.time_to_accuracy(groups, table)
    results = show.results(tables.results(groups))["accuracy (%) [95 % interval]"]
    assert results[1] == "71.0 (too few seeds)" and results[0].startswith("60.0 [")


def test_an_interval_over_the_seeds_never_reaches_from_0_to_100(grouped):
    (row,) = tables.results(grouped(seeds("grpo", [0.02, 0.5, 0.98]))).to_dict("records")
    assert row["accuracy"] == pytest.approx(50) and isnan(row["accuracy low"]) and isnan(row["accuracy high"])
    (cell,) = show.results(tables.results(grouped(seeds("again", [0.02, 0.5, 0.98]))))["accuracy (%) [95 % interval]"]
    assert cell == "50.0 (too few seeds)"


def test_seeds_of_an_earlier_version_have_the_interval_over_the_seeds_alone(grouped):
    """It did not log the number of its questions."""
    runs = seeds("grpo", [0.58, 0.6, 0.62], questions=None)
    (row,) = tables.results(grouped(runs)).to_dict("records")
    assert (row["accuracy low"], row["accuracy high"]) == pytest.approx(stats.mean_interval([58, 60, 62]))


def test_a_target_below_the_start_is_said(grouped):
    groups = grouped({"grpo": {"accuracies": (0.5, 0.5)}, "cppo": {"accuracies": (0.5, 0.55), **CPPO}})
    table = to_target(groups, default_target(groups))
    assert table["seconds"].tolist() == [0, 0]
    assert "At the target before training: GRPO; CPPO, P=0.5" in texts.time_to_accuracy(groups, table)
    assert "would tell them apart; at the end 55 % and 50 %." in said(groups)[0]


def test_without_validations_there_is_no_target(tmp_path, capsys):
    entries = made.lines()
    for entry in entries:
        entry["data"] = {name: value for name, value in entry["data"].items() if not name.startswith("val-")}
    folder = made.write(tmp_path / "run", entries)
    assert cppo_verl("report", str(folder), "--out", str(tmp_path / "out")) == 0
    assert texts.NO_ACCURACY in (tmp_path / "out/report.md").read_text()
    assert "until" not in capsys.readouterr().out


# --- a subset in between ---


def test_a_subset_in_between_makes_the_curve_and_all_questions_the_end(tmp_path):
    entries = made.lines()
    for step, accuracy in ((1, 0.4), (3, 0.5)):
        entries[step]["data"] |= made.validation(accuracy, 20) | {SUBSET: 20}
    groups = group_runs([read_run(made.write(tmp_path / "run", entries))])
    run = groups[0].first
    assert run.accuracy.to_dict() == {0: 0.3, 4: 0.6} and run.num_questions == 100
    assert run.curves()["accuracy"].dropna().to_dict() == {0: 0.3, 1: 0.4, 3: 0.5}
    assert default_target(groups) == pytest.approx(0.475)
    table = to_target(groups, 0.45)
    assert table["seconds"].tolist() == pytest.approx([20])
    assert "a fixed subset (20 questions)" in texts.time_to_accuracy(groups, table)
    assert tables.results(groups)["accuracy"].tolist() == pytest.approx([60])


# --- the sentence ---


@pytest.mark.parametrize(
    ("grpo", "cppo", "target", "sentence"),
    [
        (0.6, 0.5, 0.57, "CPPO never reached 57 %, GRPO did after 36 s; at the end 50 % and 60 %."),
        (0.6, 0.7, 0.64, "CPPO reached 64 % after 24 s, GRPO never; at the end 70 % and 60 %."),
        (0.6, 0.7, 0.755, "Neither CPPO nor GRPO reached 75.5 %; at the end 70 % and 60 %."),
        (0.9, 0.5, 0.45, "CPPO reached 45 % after 21 s, GRPO after 10 s: 2.1x later; at the end 50 % and 90 %."),
        (0.6, 0.51, 0.51, "CPPO reached 51 % after 28 s, GRPO after 28 s: as soon; at the end 51 % and 60 %."),
    ],
)
def test_the_sentence(grouped, grpo, cppo, target, sentence):
    groups = grouped({"grpo": {"accuracies": (0.3, grpo)}, "cppo": {"accuracies": (0.3, cppo), **CPPO}})
    assert said(groups, target) == [sentence]


def test_ends_after_unlike_numbers_of_questions_say_how_many(grouped):
    groups = grouped({"grpo": {"accuracies": (0.3, 0.6)}, "cppo": {"accuracies": (0.3, 0.7), **CPPO, "steps": 4}})
    (sentence,) = said(groups)
    assert sentence.endswith("; at the end 70 % after 32 questions and 60 % after 16.")


def test_rows_of_one_method_are_told_apart_and_intervals_said(grouped):
    arms = seeds("half", [0.68, 0.7, 0.72], **CPPO) | seeds("most", [0.68, 0.7, 0.72], rate=0.75, steps=1)
    half, most = said(grouped(seeds("grpo", [0.58, 0.6, 0.62]) | arms))
    assert half.startswith("CPPO, P=0.5 reached 57 % after 19 s, GRPO after 36 s: 1.9x sooner (95 % interval over the ")
    assert most.startswith("CPPO, P=0.75 reached 57 % after ")


def test_the_command_takes_a_target_and_ends_with_the_sentence(tmp_path, capsys):
    runs = [make_run(tmp_path / "grpo"), make_run(tmp_path / "cppo", accuracies=(0.3, 0.7), **CPPO)]
    out = tmp_path / "out"
    assert cppo_verl("report", *map(str, runs), "--out", str(out), "--target", "46") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "CPPO reached 46 % after 11 s, GRPO after 21 s: 1.9x sooner; at the end 70 % and 60 %."
    report = (out / "report.md").read_text()
    assert last in report
    assert report.index("(time_to_accuracy.png)") < report.index("(time_split.png)") < report.index("(accuracy.png)")
    assert pd.read_csv(out / "time_to_accuracy.csv")["target"].tolist() == [46, 46]
    assert pd.read_csv(out / "results.csv")["method"].tolist() == ["GRPO", "CPPO"]
    with pytest.raises(BadParameter, match="not in the range 1"):  # it is in per cent
        cppo_verl("report", str(runs[0]), "--out", str(out), "--target", "0.46")


# --- the statistics ---


def test_the_stratified_bootstrap_is_scipys_with_unpaired_samples():
    rng = np.random.default_rng(1)
    base, values = rng.lognormal(4, 0.2, 15), rng.lognormal(3, 0.2, 12)

    def ratio(one, other, axis):
        return np.median(one, axis) / np.median(other, axis)

    expected = bootstrap((base, values), ratio, method="percentile", n_resamples=10_000, rng=2).confidence_interval
    assert stats.speed_up_interval(base, values) == pytest.approx((expected.low, expected.high), rel=0.03)
    expected = bootstrap((base,), np.median, method="percentile", n_resamples=10_000, rng=2).confidence_interval
    assert stats.median_interval(base) == pytest.approx((expected.low, expected.high), rel=0.03)


def test_the_interval_of_three_seeds_is_their_range():
    assert stats.median_interval([3.0, 1.0, 2.0]) == (1, 3)
    assert stats.median_interval([3.0, 1.0, inf]) == (1, inf)
    assert stats.speed_up_interval([4.0, 4.0, 4.0], [2.0, 1.0, inf]) == (0, 4)
    assert all(map(isnan, stats.speed_up_interval([inf] * 3, [inf] * 3)))


def test_prediction_intervals_by_hand():
    half = 4.302653 * sqrt(1 + 1 / 3)
    assert stats.prediction_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - half, 2 + half), rel=1e-5)
    base, values = np.exp([1.0, 2.0, 3.0]), np.exp([0.0, 1.0, 2.0])
    half = 2.776445 * sqrt(2 * (1 + 1 / 3))  # equal variances: 4 degrees of freedom
    expected = np.exp([1 - half, 1 + half])
    assert stats.ratio_prediction_interval(base, values) == pytest.approx(expected, rel=1e-5)
    assert all(map(isnan, stats.prediction_interval([1.0, 2.0])))
    assert all(map(isnan, stats.ratio_prediction_interval([1.0, 2.0, inf], [1.0, 2.0, 3.0])))


def test_one_more_run_falls_into_a_prediction_interval_19_times_in_20():
    draws = np.random.default_rng(0).normal(90, 2, (2000, 6))
    intervals = [stats.prediction_interval(seen) for seen in draws[:, :5]]
    inside = [low <= new <= high for (low, high), new in zip(intervals, draws[:, 5], strict=True)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


def test_what_a_single_run_gives(grouped):
    groups = grouped(
        seeds("grpo", [0.58, 0.6, 0.62])
        | seeds("cppo", [0.68, 0.7, 0.72], **CPPO)
        | seeds("two", [0.5, 0.6], rate=0.75, steps=1)
    )
    table = single_run(groups, 0.5).set_index("label")
    assert [*table.index] == ["GRPO", "CPPO, P=0.5"], "the other has too few seeds"
    cppo = table.loc["CPPO, P=0.5"]
    half = 4.302653 * 2 * sqrt(1 + 1 / 3)
    assert (cppo["accuracy"], cppo["accuracy low"], cppo["accuracy high"]) == pytest.approx((70, 70 - half, 70 + half))
    assert (cppo["seconds"], cppo["seconds low"], cppo["seconds high"]) == pytest.approx((28, 28, 28))
    assert (cppo["ratio"], cppo["ratio low"]) == pytest.approx((40 / 28, 40 / 28))
    assert cppo["speed-up low"] < cppo["speed-up"] < cppo["speed-up high"]
    shown = show.single_run(single_run(groups, 0.5))
    assert shown["accuracy (%)"][1] == "70.0 (60.1 to 79.9)"
    assert shown["ratio"].tolist() == ["1.00x", "1.43x (1.43x to 1.43x)"]


def test_a_seed_that_never_gets_there_is_in_the_sentences_interval(grouped):
    """Two of three get there: the median does, the interval reaches to never."""
    groups = grouped(seeds("grpo", [0.6] * 3) | seeds("cppo", [0.7, 0.7, 0.5], **CPPO))
    (sentence,) = said(groups)
    assert "(95 % interval over the seeds: never to " in sentence

"""The report, from generated run folders whose every number is known."""

from __future__ import annotations

import re
from math import hypot, isnan, sqrt
from pathlib import Path

import pandas as pd
import pytest
import report_runs as made
from command import cppo_verl
from report_runs import make_run
from scipy.stats import t as student

from cppo_verl.evaluation.statistics import wilson
from cppo_verl.report import evaluations, show, stats, tables
from cppo_verl.report.groups import group_runs
from cppo_verl.report.log import read_log, read_metrics
from cppo_verl.report.notes import notes
from cppo_verl.report.runs import RunError, read_run

PAIR = {"grpo": {}, "cppo": {"rate": 0.5, "steps": 2, "accuracies": (0.3, 0.7)}}


# --- the statistics ---


def test_mean_interval_by_hand():
    low, high = stats.mean_interval([1.0, 2.0, 3.0])
    assert (low + high) / 2 == pytest.approx(2)
    assert high - 2 == pytest.approx(4.302653 / sqrt(3), rel=1e-5)
    values = [0.61, 0.64, 0.7, 0.66]
    frame = pd.Series(values)
    expected = student.interval(0.95, 3, loc=frame.mean(), scale=frame.sem())
    assert stats.mean_interval(values) == pytest.approx(expected)


def test_bound_by_hand():
    assert stats.bound(5, 5, 0) == 1
    assert stats.bound(5, 5, 0.5) == pytest.approx(10 / 7.5)
    assert stats.bound(5, 5, 1) == 2


# --- the tables ---


def test_published_table(grouped):
    table = tables.results(grouped(PAIR))
    grpo, cppo = table.to_dict("records")
    assert (grpo["method"], grpo["G"], grpo["P"], grpo["k"], grpo["steps"]) == ("GRPO", 8, 0, 8, 4)
    assert (cppo["method"], cppo["G"], cppo["P"], cppo["k"], cppo["steps"]) == ("CPPO", 8, 0.5, 4, 2)
    assert grpo["questions"] == cppo["questions"] == 16
    assert (grpo["seconds"], cppo["seconds"]) == pytest.approx((40, 28))
    assert (grpo["ratio"], cppo["ratio"]) == pytest.approx((1, 40 / 28))
    assert (cppo["accuracy before"], cppo["accuracy"]) == pytest.approx((30, 70))
    expected = wilson(70, 100)
    assert (cppo["accuracy low"], cppo["accuracy high"]) == pytest.approx((100 * expected.low, 100 * expected.high))
    shown = show.results(table)
    assert shown["accuracy (%) [95 % interval]"][1] == "70.0 [60.4, 78.1]"
    assert shown["ratio"].tolist() == ["1.00x", "1.43x"]
    assert "options" not in shown and "runs" not in shown


def test_ablations_are_told_apart(grouped):
    groups = grouped(
        {
            "a": {},
            "b": {"rate": 0.5, "allocation": False},
            "c": {"rate": 0.5, "metric": "largest"},
            "d": {"rate": 0.5, "scope": "batch", "zero_variance": "drop"},
            "e": {"rate": 0.5},
        }
    )
    assert [group.label for group in groups] == [
        "GRPO",
        "CPPO, pruning only, P=0.5",
        "CPPO, P=0.5, metric=largest",
        "CPPO, P=0.5, scope=batch, zero_variance=drop",
        "CPPO, P=0.5",
    ]
    assert tables.results(groups)["options"].tolist() == [
        "",
        "",
        "metric=largest",
        "scope=batch, zero_variance=drop",
        "",
    ]
    assert [group.label for group in grouped({"g8": {}, "g2": {"n": 2}})] == ["GRPO, G=8", "GRPO, G=2"]


def test_runs_that_differ_only_by_seed_are_a_row(grouped):
    seeds = {
        f"s{s}": {"seed": s, "rollout_seed": s, "accuracies": (0.3, a), "speed": v}
        for s, a, v in ((0, 0.6, 1), (1, 0.7, 2), (2, 0.65, 3))
    }
    groups = grouped(seeds | {"other": {"steps": 8, "seed": 3}})
    assert [[run.name for run in group.runs] for group in groups] == [["s0", "s1", "s2"], ["other"]]
    assert [group.label for group in groups] == ["GRPO (s0)", "GRPO (other)"]
    row = tables.results(groups).iloc[0]
    student, questions = stats.mean_interval([60, 70, 65]), wilson(65, 100)
    low = 65 - hypot(65 - student[0], 65 - 100 * questions.low)
    high = 65 + hypot(student[1] - 65, 100 * questions.high - 65)
    assert row["runs"] == 3
    assert (row["accuracy"], row["accuracy low"], row["accuracy high"]) == pytest.approx((65, low, high))
    assert row["seconds"] == pytest.approx(4 * (10 + 19 + 28) / 3)
    assert show.results(tables.results(groups))["runs"].tolist() == ["3", "1"]


def test_seeds_that_agree_do_not_hide_the_chance_of_the_questions(grouped):
    row = tables.results(grouped({f"s{s}": {"seed": s, "accuracies": (0.3, 0.6)} for s in range(3)})).iloc[0]
    expected = wilson(60, 100)
    assert (row["accuracy low"], row["accuracy high"]) == pytest.approx((100 * expected.low, 100 * expected.high))


def test_the_accuracy_of_an_untrained_model_is_not_a_result(grouped):
    row = tables.results(grouped({"a": {"made": 3}})).iloc[0]
    assert row["accuracy before"] == pytest.approx(30) and isnan(row["accuracy"])


def test_runs_that_used_up_their_questions_are_finished(grouped):
    """With `zero_variance=drop` seeds may make different numbers of steps; none is left out for that."""
    drop = {"zero_variance": "drop", "ended": True}
    groups = grouped(
        {f"s{s}": {"seed": s, "made": 3 - (s == 1), "accuracies": (0.3, 0.5 + 0.1 * s), **drop} for s in range(3)}
    )
    row = tables.results(groups).iloc[0]
    assert (row["runs"], row["accuracy"], row["steps"]) == (3, pytest.approx(60), pytest.approx(8 / 3))
    assert all("used up" in note for note in notes(groups) if " of 4" in note)


def test_throughput_and_peak_memory(tmp_path):
    """As verl logs them: tokens a second and device of the whole run, and the fullest model's memory at its fullest."""
    entries = made.lines(steps=2)
    entries[1]["data"] |= {"perf/throughput": 100, "timing_s/step": 30, "critic/perf/max_memory_allocated_gb": 7.5}
    entries[2]["data"] |= {"perf/throughput": 40, "timing_s/step": 10}
    runs = [made.write(tmp_path / "a", entries, steps=2), make_run(tmp_path / "b", rate=0.5, steps=2)]
    table = tables.results(group_runs([read_run(run) for run in runs]))
    assert table["tokens/s"].tolist() == pytest.approx([(100 * 30 + 40 * 10) / 40, 2 * 10 * 64 / 28])
    assert table["memory"].tolist() == pytest.approx([7.5, 2.2])
    assert show.results(table)[["tokens/s", "memory (GiB)"]].values.tolist() == [["85.0", "7.5"], ["45.7", "2.2"]]


def test_the_highest_memory_of_several_seeds(tmp_path):
    entries = made.lines()
    entries[2]["data"]["actor/perf/max_memory_allocated_gb"] = 9.0
    runs = [made.write(tmp_path / "s0", entries), make_run(tmp_path / "s1", seed=1)]
    (row,) = tables.results(group_runs([read_run(run) for run in runs])).to_dict("records")
    assert (row["runs"], row["memory"]) == (2, 9.0)


def test_rows_of_the_same_method_and_options_have_their_runs_name(tmp_path):
    """Of another model, say."""
    groups = group_runs([read_run(make_run(tmp_path / name, model=name)) for name in ("small", "large")])
    assert show.results(tables.results(groups))["run"].tolist() == ["GRPO (small)", "GRPO (large)"]


def test_time_split_adds_up(grouped):
    groups = grouped(PAIR)
    split = tables.time_split(groups).set_index("label")
    assert split.loc["GRPO"].to_dict() == pytest.approx(
        {
            "generation": 16,
            "reward": 1,
            "advantage + prune": 0.8,
            "data movement": 0.2,
            "old log-prob": 4,
            "ref log-prob": 4,
            "update": 12,
            "critic": 0,
            "weight sync": 1,
            "other": 1,
        }
    )
    assert split.sum(axis=1).tolist() == pytest.approx([run.seconds for group in groups for run in group.runs])


def test_accounting_by_hand(grouped):
    grpo, cppo = tables.accounting(grouped(PAIR)).to_dict("records")
    for row, kept in ((grpo, 128), (cppo, 64)):
        assert row["completions sampled"] == 128
        assert row["completions kept"] == kept
        assert row["tokens sampled"] == 1280
        assert row["tokens kept"] == row["tokens old"] == row["tokens ref"] == 10 * kept
        assert row["tokens update"] == 20 * kept, "both PPO epochs"
        assert (row["padding old"], row["padding ref"], row["padding update"]) == (kept, kept, 2 * kept)
    assert (grpo["optimiser updates"], cppo["optimiser updates"]) == (4 * 2 * 2, 2 * 4 * 2)
    assert (grpo["updates an epoch"], cppo["updates an epoch"]) == (100, 50)
    assert (grpo["rows an update"], cppo["rows an update"]) == (16, 8)
    assert (grpo["questions an update"], cppo["questions an update"]) == (2, 2)
    assert pd.isna(grpo["bound"])
    assert (cppo["bound"], cppo["limit"]) == pytest.approx((40 / 30, 2))
    assert (cppo["reached"], cppo["reached_limit"]) == pytest.approx(
        ((1 - 28 / 40) / (1 - 30 / 40), (1 - 28 / 40) / 0.5)
    )


def test_updates_of_as_many_questions_as_grpos(tmp_path):
    make_run(tmp_path / "cppo", rate=0.5, steps=2, mini_batch="questions")
    (group,) = group_runs([read_run(tmp_path / "cppo")])
    (row,) = tables.accounting([group]).to_dict("records")
    assert (row["rows an update"], row["questions an update"]) == (8, 2)
    assert row["optimiser updates"] == 2 * 4 * 2
    assert group.label == "CPPO, P=0.5"


def test_a_forward_that_did_not_run_saw_no_tokens(tmp_path):
    entries = made.lines()
    for entry in entries[1:]:
        del entry["data"]["timing_s/old_log_prob"]
    run = read_run(made.write(tmp_path / "bypass", entries))
    assert tables.forward_tokens(run, "old") == tables.padding_tokens(run, "old") == 0
    assert tables.forward_tokens(run, "ref") == 1280


def test_updates_of_a_step_that_was_not_full(tmp_path):
    entries = made.lines(steps=3)
    for entry, kept in zip(entries[1:], (32, 16, 0), strict=True):
        entry["data"]["cppo/completions_kept"] = kept
    entries[2]["data"]["cppo/completions_kept"] = 9
    assert read_run(made.write(tmp_path / "run", entries, steps=3)).updates().tolist() == [4, 2, 0]


def test_kinds(grouped):
    table = tables.kinds(grouped(PAIR)).set_index(["label", "kind"])
    right_wrong = table.loc["CPPO, P=0.5", "format_right_answer_wrong"]
    assert (right_wrong["sampled"], right_wrong["kept"]) == pytest.approx((0.3 * 128, 0.1 * 64))
    assert (right_wrong["share"], right_wrong["survived"]) == pytest.approx((0.3, 0.1 * 64 / (0.3 * 128)))
    assert show.kind_name("format_right_answer_wrong") == "format right, answer wrong"


def test_who_waited_for_whom_on_v1(tmp_path):
    entries = made.lines(steps=2)
    for entry, idle in zip(entries[1:], (0.2, 0.6), strict=True):
        stale = {f"training/off_policy/trajectory_staleness_worst/{of}": 5 * idle for of in ("mean", "max")}
        idles = {"cppo/idle/trainer": idle, "cppo/idle/engine": 1 - idle, "timing_s/step": 50 * idle}
        entry["data"] |= idles | stale
    v1, v0 = (
        made.write(tmp_path / "v1", entries, steps=2, v1="separate_async"),
        make_run(tmp_path / "v0", rate=0.5, steps=2),
    )
    (row,) = tables.waiting(group_runs([read_run(v0), read_run(v1)])).to_dict("records")
    assert row == pytest.approx(
        {"label": "GRPO, V1 separate_async", "trainer idle": 0.5, "engine idle": 0.5, "staleness": 2, "oldest": 3}
    )
    assert cppo_verl("report", str(v0), str(v1), "--out", str(tmp_path / "out")) == 0
    assert "| GRPO, V1 separate_async | 50.0 % | 50.0 % | 2.0 | 3 |" in (tmp_path / "out/report.md").read_text()


def test_curves_start_at_the_origin(grouped):
    (_, cppo) = grouped(PAIR)
    curves = cppo.first.curves()
    assert curves["questions"].tolist() == [0, 8, 16]
    assert curves["updates"].tolist() == [0, 8, 16]
    assert curves["seconds"].tolist() == pytest.approx([0, 14, 28])
    assert curves["reward"].tolist()[1:] == pytest.approx([1.1, 1.2])
    assert curves["accuracy"].dropna().to_dict() == {0: 0.3, 2: 0.7}


def test_accuracy_over_several_data_sources_is_that_of_all_their_questions(tmp_path):
    entries = made.lines()
    entries[-1]["data"] |= {"val-core/amc23/acc/mean@1": 0.2, "val-aux/amc23/num_questions": 300}
    run = read_run(made.write(tmp_path / "run", entries))
    assert run.num_questions == 400
    assert run.accuracy[4] == pytest.approx((0.6 * 100 + 0.2 * 300) / 400)


# --- whatever became of a run ---


def notes_on(*folders: Path) -> str:
    return "\n".join(notes(group_runs([read_run(folder) for folder in folders])))


def test_a_whole_run_needs_no_note(tmp_path):
    assert notes_on(make_run(tmp_path / "run")) == ""


def test_a_run_that_is_still_going(tmp_path):
    folder = make_run(tmp_path / "run", made=2)
    said = notes_on(folder)
    assert "run: at step 2 of 4: still going, or interrupted." in said
    assert "last validated at step 0, before its last step 2" in said
    assert read_run(folder).seconds == pytest.approx(20)


def test_an_unfinished_last_line(tmp_path):
    folder = make_run(tmp_path / "run")
    whole = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").write_text(whole[:-40])
    assert read_metrics(folder).index.tolist() == [0, 1, 2, 3]
    assert "the last line of metrics.jsonl is unfinished" in notes_on(folder)
    (folder / "metrics.jsonl").write_text(whole[:-1])
    assert read_metrics(folder).index.tolist() == [0, 1, 2, 3, 4], "whole, but for its line's end"


@pytest.mark.parametrize(
    "rubbish", [b"\x00\xff\x00\n", b'{"step": 2, "da\n', b"[1, 2]\n", b'{"step": "2", "data": {}}\n']
)
def test_a_corrupt_line_in_the_middle(tmp_path, rubbish):
    folder = make_run(tmp_path / "run")
    lines = (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_bytes(b"".join([*lines[:2], rubbish, *lines[3:]]))
    said = notes_on(folder)
    assert "line 3 of metrics.jsonl cannot be read" in said
    assert "step 2 is missing" in said
    assert read_run(folder).seconds == pytest.approx(30)


def test_a_value_that_is_no_number_is_unknown(tmp_path):
    entries = made.lines()
    entries[1]["data"]["cppo/zero_variance_questions"] = "many"
    assert read_run(made.write(tmp_path / "run", entries)).total("cppo/zero_variance_questions") == 3


def test_a_resumed_run_counts_each_step_once(tmp_path):
    entries = made.lines()
    resumed = [*entries[:3], {"step": 2, "data": made.validation(0.5)}, *entries[3:]]
    folder = made.write(tmp_path / "run", resumed)
    assert read_run(folder).seconds == pytest.approx(40)
    assert read_run(folder).accuracy.to_dict() == {0: 0.3, 2: 0.5, 4: 0.6}
    assert "resumed after step 2; each step is counted once" in notes_on(folder)


def test_a_log_that_goes_back_is_that_of_the_later_start(tmp_path):
    entries = made.lines(steps=9, made=6)
    folder = made.write(tmp_path / "run", [*entries, *made.lines(steps=9, made=3, speed=2)[2:]], steps=9)
    log = read_log(folder)
    assert log.metrics.index.tolist() == [0, 1, 2, 3]
    assert log.resumed_after == (1,)
    assert read_run(folder).seconds == pytest.approx(10 + 19 + 19)


def test_the_start_of_the_engine_in_a_generation_is_said(tmp_path):
    entries = made.lines(steps=5)
    entries[1]["data"]["timing_s/gen"] += 20
    entries[1]["data"]["timing_s/step"] += 20
    said = notes_on(made.write(tmp_path / "run", entries, steps=5))
    assert "generation of step 1 took 24.0 s, the median is 4.0 s" in said
    assert "70.0 s as counted, 50.0 s with the median in its place" in said


def test_truncated_completions_are_said(tmp_path):
    """Of a run in which every one was, with every reward 0, the numbers alone do not tell why."""
    entries = made.lines(steps=5)
    for entry, share in zip(entries[1:], (1.0, 1.0, 0.2, 0.75, 1.0), strict=True):
        entry["data"]["response_length/clip_ratio"] = share
    said = notes_on(made.write(tmp_path / "run", entries, steps=5))
    assert "94% of the completions of step 1-2, 4-5 were truncated at data.max_response_length" in said


def test_steps_without_an_update_are_said(tmp_path):
    entries = made.lines(steps=5)
    entries[2]["data"]["cppo/completions_kept"] = 0
    entries[3]["data"]["cppo/rejected/updates"] = 1
    folder = made.write(tmp_path / "run", entries, steps=5)
    assert "step 2-3 updated nothing" in notes_on(folder)
    assert read_run(folder).updates().loc[[2, 3]].tolist() == [0, 0]


def test_the_updates_of_several_cycles_are_those_that_were_logged(tmp_path):
    """One of four cycles rejected, then four that keep less than a mini-batch each: no sum over the cycles tells."""
    entries = made.lines(steps=5)
    entries[1]["data"] |= {"cppo/updates": 3, "cppo/rejected/updates": 1}
    entries[2]["data"] |= {"cppo/updates": 4, "cppo/completions_kept": 16}
    entries[3]["data"] |= {"cppo/updates": 0}
    folder = made.write(tmp_path / "run", entries, steps=5)
    assert read_run(folder).updates().tolist() == [3, 4, 0, 4, 4]
    assert "step 3 updated nothing" in notes_on(folder)


def test_a_mean_over_time_is_of_the_steps_that_have_the_number(tmp_path):
    """The line that is made up for a step whose own a kill took has no idle times."""
    entries = made.lines(steps=4)
    for entry in entries[1:4]:
        entry["data"]["cppo/idle/trainer"] = 0.5
    run = read_run(made.write(tmp_path / "run", entries, steps=4))
    assert run.mean_over_time("cppo/idle/trainer") == pytest.approx(0.5)


def test_a_run_of_an_earlier_version(tmp_path):
    entries = made.lines(questions=None)
    for entry in entries:
        entry["data"] = {k: v for k, v in entry["data"].items() if not re.search("kinds|padding|perf", k)}
    folder = made.write(tmp_path / "run", entries)
    said = notes_on(folder)
    assert "its accuracy has no interval" in said
    assert "did not log the four kinds of completion and padding" in said
    groups = group_runs([read_run(folder)])
    assert show.results(tables.results(groups))["accuracy (%) [95 % interval]"].tolist() == ["60.0"]
    assert not {"tokens/s", "memory (GiB)"} & {*show.results(tables.results(groups))}
    assert tables.kinds(groups).empty
    assert cppo_verl("report", str(folder), "--out", str(tmp_path / "out")) == 0
    assert not (tmp_path / "out/kinds.png").exists()


def test_a_seed_that_lags_is_left_out_of_the_mean(tmp_path):
    folders = [make_run(tmp_path / "s0"), make_run(tmp_path / "s1", seed=1, made=2)]
    (group,) = group_runs([read_run(folder) for folder in folders])
    assert [run.name for run in group.furthest] == ["s0"]
    assert group.curves().loc["s0"].index.tolist() == [0, 1, 2]
    assert "s1 made fewer steps than the longest run of the row" in notes_on(*folders)


def test_the_same_seed_twice_is_said(tmp_path):
    said = notes_on(make_run(tmp_path / "one"), make_run(tmp_path / "again"))
    assert "some of its runs have the same seeds" in said


def test_runs_of_different_length_are_compared_by_the_question(tmp_path):
    folders = [make_run(tmp_path / "long", steps=8), make_run(tmp_path / "short", rate=0.5, steps=2)]
    table = tables.results(group_runs([read_run(folder) for folder in folders]))
    assert table["ratio"].tolist() == pytest.approx([1, (80 / 32) / (28 / 16)])
    assert "the ratio is of the time a question" in notes_on(*folders)


def test_no_bound_where_the_first_row_prunes(tmp_path):
    folders = [make_run(tmp_path / f"p{rate}", rate=rate) for rate in (0.5, 0.75)]
    assert tables.accounting(group_runs([read_run(folder) for folder in folders]))["bound"].isna().all()
    assert "gives no bound" in notes_on(*folders)


def test_what_is_no_run_is_left_out_and_said(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    assert cppo_verl("report", str(run), str(tmp_path / "empty"), str(run), "--out", str(tmp_path / "out")) == 0
    said = capsys.readouterr().err
    assert "left out" in said and "there is no config.yaml" in said
    report = (tmp_path / "out/report.md").read_text()
    assert "left out" in report
    assert report.count("| run | 4 of 4 |") == 1, "a folder given twice is one run"


def test_runs_of_the_same_name_are_told_apart(tmp_path):
    one, other = make_run(tmp_path / "one/run"), make_run(tmp_path / "other/run", rate=0.5)
    assert cppo_verl("report", str(one), str(other), "--out", str(tmp_path / "out")) == 0
    report = (tmp_path / "out/report.md").read_text()
    assert "| GRPO | one/run | 4 of 4 |" in report
    assert "| CPPO, P=0.5 | other/run | 4 of 4 |" in report


# --- evaluations of the runs' checkpoints ---


def test_evaluations_are_compared_with_the_first_run_question_by_question(tmp_path):
    grpo, cppo = make_run(tmp_path / "grpo"), make_run(tmp_path / "cppo", rate=0.5, steps=2)
    made.evaluate(grpo, "global_step_4", [1, 1, 0, 0, 0, 0, 0, 0])
    made.evaluate(grpo, "global_step_2", [0] * 8)
    made.evaluate(cppo / "best", "global_step_1", [1, 1, 1, 1, 1, 1, 1, 1])
    made.evaluate(cppo, "global_step_2", [1] * 5)  # other questions: nothing to compare with
    found, faults = evaluations.read_evaluations([read_run(grpo), read_run(cppo)])
    table = evaluations.table(found).set_index(["run", "checkpoint"])
    assert not faults
    assert list(table.index) == [
        ("grpo", "global_step_4"),
        ("grpo", "global_step_2"),
        ("cppo", "global_step_2"),
        ("cppo", "best/global_step_1"),
    ]
    assert list(table["accuracy"]) == [25, 0, 100, 100]
    assert (table["accuracy low"] < table["accuracy high"]).all()
    best = table.loc[("cppo", "best/global_step_1")]
    assert best["difference"] == 75 and best["p"] == pytest.approx(2 / 2**6)
    assert best["difference low"] < 75 <= best["difference high"]
    assert table.loc[("cppo", "global_step_2"), "difference":].isna().all()


def test_an_evaluation_without_generations_is_shown_and_one_that_cannot_be_read_is_said(tmp_path, capsys):
    grpo, cppo = make_run(tmp_path / "grpo"), make_run(tmp_path / "cppo", rate=0.5, steps=2)
    made.evaluate(grpo, "global_step_4", [1, 0, 0, 0])
    (made.evaluate(cppo, "global_step_2", [1, 1, 1, 0]) / "generations.jsonl").unlink()
    (made.evaluate(cppo, "global_step_1", [1, 1, 1, 0]) / "results.json").write_text('{"model": "m"}')
    made.evaluate(cppo, "global_step_2_old", [1, 1, 1, 0])
    assert cppo_verl("report", str(grpo), str(cppo), "--out", str(tmp_path / "report")) == 0
    assert "cppo: eval/global_step_1/gsm8k/results.json is not that of an evaluation" in capsys.readouterr().err
    report = (tmp_path / "report/report.md").read_text()
    assert "| gsm8k | grpo | global_step_4 | 4 | 1 | 25.0 [" in report
    assert "| gsm8k | cppo | global_step_2 | 4 | 1 | 75.0 [" in report
    assert len(pd.read_csv(tmp_path / "report/evaluations.csv")) == 2


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "config.yaml").unlink(), "there is no config.yaml"),
        (lambda folder: (folder / "metrics.jsonl").unlink(), "there is no metrics.jsonl"),
        (lambda folder: (folder / "config.yaml").write_text("trainer: {}"), "config.yaml is not that of a run"),
        (lambda folder: (folder / "config.yaml").write_text("a: [1"), "config.yaml is not that of a run"),
        (lambda folder: (folder / "metrics.jsonl").write_text(""), "no training step"),
        (lambda folder: (folder / "metrics.jsonl").write_text('{"step": 0, "data": {"a": 1}}\n'), "no training step"),
        (
            lambda folder: (folder / "metrics.jsonl").write_text('{"step": 1, "data": {"timing_s/step": 1}}\n'),
            "has no cppo/questions",
        ),
    ],
)
def test_nothing_to_report_is_one_line_and_exit_code_2(tmp_path, capsys, spoil, says):
    folder = make_run(tmp_path / "run")
    spoil(folder)
    with pytest.raises(RunError, match=says):
        read_run(folder)
    assert cppo_verl("report", str(folder), "--out", str(tmp_path / "out")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: nothing to report: ") and says in line
    assert not (tmp_path / "out").exists()


def test_metrics_of_a_run_that_has_just_started(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("")
    assert read_metrics(tmp_path).empty
    (tmp_path / "metrics.jsonl").write_text('{"step": 0')
    assert read_metrics(tmp_path).empty


# --- the files ---


def test_the_whole_report(tmp_path, capsys):
    runs = [make_run(tmp_path / f"grpo{s}", seed=s, accuracies=(0.3, 0.6 + 0.02 * s)) for s in range(2)]
    runs += [make_run(tmp_path / "cppo", rate=0.5, steps=2), make_run(tmp_path / "going", rate=0.75, steps=5, made=1)]
    out = tmp_path / "out"
    assert cppo_verl("report", *map(str, runs), "--out", str(out)) == 0
    shown = capsys.readouterr()
    assert "CPPO" in shown.out and "GRPO" in shown.out
    assert "note: going: at step 1 of 5" in shown.err
    for picture in ("time_to_accuracy", "reward", "accuracy", "time_split", "kinds"):
        data = (out / f"{picture}.png").read_bytes()
        assert data.startswith(b"\x89PNG") and len(data) > 10_000
        assert f"({picture}.png)" in (out / "report.md").read_text()
    assert pd.read_csv(out / "results.csv")["ratio"].tolist() == pytest.approx([1, 40 / 28, 40 / 22])
    assert len(pd.read_csv(out / "curves.csv")) == 5 + 5 + 3 + 2
    tables = {"results", "time_to_accuracy", "time_split", "accounting", "kinds", "curves"}
    assert {path.stem for path in out.glob("*.csv")} == tables
    assert str(tmp_path) not in (out / "report.md").read_text(), "no paths of the machine"

"""Whether to prune: the ratios, the sentence, and every form of log that they are read from."""

from __future__ import annotations

import json
import math
import pprint
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import report_runs as made
from command import cppo_verl
from hypothesis import given
from hypothesis import strategies as st
from verl.utils.logger.aggregate_logger import concat_dict_to_str

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.options import as_written
from cppo_verl.report.advice.facts import Facts, facts_of
from cppo_verl.report.advice.logs import TrainingLog, read_training
from cppo_verl.report.advice.model import FURTHER, LEAST_KEPT, WORTH, advise, choices
from cppo_verl.report.advice.remarks import remarks
from cppo_verl.report.split import PHASES, Split

SECONDS = st.floats(0, 1e4)


def split_of(**seconds: float) -> Split:
    """A split by phase, `_` for a space; what is not named takes no time."""
    named = {phase.replace("_", " ").replace("log prob", "log-prob"): value for phase, value in seconds.items()}
    assert set(named) <= {*PHASES, "other"}
    return Split(dict.fromkeys((*PHASES, "other"), 0.0) | named)


def facts(**seconds: float) -> Facts:
    return Facts(split_of(**seconds), steps=10, rollout_n=16)


# --- the ratios ---


@given(st.lists(SECONDS, min_size=len(PHASES) + 1, max_size=len(PHASES) + 1), st.integers(1, 64))
def test_ratios_start_at_one_grow_and_end_below_the_bound(seconds, n):
    split = Split(dict(zip((*PHASES, "other"), seconds, strict=True)) | {"generation": seconds[0] + 1e-3})
    offered = list(choices(split, n))
    assert (offered[0].rate, offered[0].pruning_only, offered[0].allocated) == (0, 1, 1)
    for one, next_one in pairwise(offered):
        assert one.keep > next_one.keep >= 1 and one.rate < next_one.rate
        assert one.pruning_only <= next_one.pruning_only * (1 + 1e-9)
        assert one.allocated <= next_one.allocated * (1 + 1e-9)
    for choice in offered:
        assert choice.pruning_only <= choice.allocated * (1 + 1e-9) <= split.limit * (1 + 1e-8)
        assert choice.keep == n * (1 - as_written(choice.written)), "P as it is written is of a whole k"


def test_ratios_by_hand():
    split = split_of(generation=4, update=4, ref_log_prob=1, weight_sync=1)
    assert (split.fixed, split.shrinking, split.shared) == (5, 5, 1)
    assert split.bound(0.5) == pytest.approx(10 / 7.5)
    assert split.allocated(0.5) == pytest.approx(10 / 7)
    assert split.limit == pytest.approx(10 / 4)


# --- the sentence ---


def test_do_not_where_generation_is_most_of_the_step():
    told = facts(generation=8, update=2)
    advice = advise(told)
    assert advice.use is None
    assert advice.sentence.startswith("Do not prune: generation is 80 % of the step")
    assert any("separate_async" in remark for remark in remarks(told, advice.use))


def test_what_is_named_is_what_bounds():
    assert "reward is 70 %" in advise(facts(generation=1, reward=7, update=2)).sentence
    assert "what no timer shows is 70 %" in advise(facts(generation=1, other=7, update=2)).sentence


@pytest.mark.parametrize(
    ("update", "rate"), [(0.2, None), (0.4, "0.5"), (0.6, "0.75"), (0.8, "0.875"), (0.99, "0.875")]
)
def test_a_higher_p_must_be_worth_it(update, rate):
    advice = advise(facts(generation=1 - update, update=update))
    assert (advice.use and advice.use.written) == rate
    if advice.use:
        assert f"Use P = {rate} (cppo.pruning_rate={rate})" in advice.sentence
        assert advice.use.allocated >= WORTH and advice.use.keep >= LEAST_KEPT
        after = advice.choices[advice.choices.index(advice.use) + 1]
        assert after.keep < LEAST_KEPT or after.allocated < FURTHER * advice.use.allocated


@pytest.mark.parametrize("n", [1, 2, 3])
def test_too_few_completions_to_choose_from(n):
    assert f"of G = {n} completions" in advise(replace(facts(generation=1, update=9), rollout_n=n)).sentence


def test_engines_that_are_busy_bound_the_ratio():
    told = replace(facts(generation=1, update=9), overlapped=True, engine_busy=0.9)
    advice = advise(told)
    assert max(choice.allocated for choice in advice.choices) == pytest.approx(1 / 0.9) == advice.limit
    assert advice.use is None and "sampling" in advice.sentence and "90 %" in advice.sentence
    assert advise(replace(told, overlapped=False)).use, "a synchronous run's engine waits for the trainer"


# --- what else helps ---


@pytest.mark.parametrize(
    ("known", "seconds", "says"),
    [
        ({}, {"reward": 3}, "reward.num_workers"),
        ({"scoring": 2.0}, {}, "scored for 2.0 s"),
        ({}, {"old_log_prob": 1}, "skip_old_log_prob=true saves its 1.00 s if a step is one update"),
        ({"updates": 1}, {"old_log_prob": 1}, "saves its 1.00 s."),
        ({"flat": 0.5}, {}, "zero_variance=drop gives their room to others, for 2.0 times"),
        ({}, {"weight_sync": 3}, "Weight sync: "),
        ({}, {"other": 3}, "under no timer"),
        ({"steps": 2}, {}, "mean of 2 step(s)"),
        ({"batch": 4, "concurrent": 256}, {}, "samples 64 completions and an engine takes 256"),
        ({"tail": 4.0}, {"generation": 20}, "4.0 times the mean's tokens"),
        ({"truncated": 0.2}, {"generation": 20}, "20 % of the responses end at"),
        ({"overlapped": True, "engine_busy": 0.5}, {}, "which allows 2.00x"),
    ],
)
def test_remarks(known, seconds, says):
    plain = facts(generation=4, update=6)
    told = replace(facts(**{"generation": 4, "update": 6} | seconds), **known)
    assert says not in " ".join(remarks(plain, None))
    assert says in " ".join(remarks(told, None))


def test_no_skipping_of_a_forward_that_is_needed():
    assert not any("skip_old" in said for said in remarks(replace(facts(old_log_prob=5, update=5), updates=4), None))


def test_fewer_updates_are_said_where_pruning_is_advised():
    told = facts(generation=4, update=6)
    assert any("it has 1/4 of them" in remark for remark in remarks(told, advise(told).use))


# --- the logs ---

ENTRIES = made.lines(steps=4)
PREFIX = "\x1b[36m(TaskRunner pid=77, ip=10.0.0.1)\x1b[0m "


def console(entries: list[dict], prefix: str = "", numpy: bool = False) -> str:
    """What verl's console logger prints of them, between other output."""
    lines = ["Training Progress:   0%|          | 0/4"]
    for entry in entries:
        data = {key: np.float64(value) if numpy else value for key, value in entry["data"].items()}
        lines += [prefix + concat_dict_to_str(data, entry["step"]), "(pid=5) a warning: step:by:step - so"]
    return "\n".join(lines) + "\n"


def json_lines(entries: list[dict]) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


LOGS = {
    "file logger": json_lines,
    "console": console,
    "console under Ray": lambda entries: console(entries, PREFIX, numpy=True),
    "console behind a bar": lambda entries: console(entries, "Training Progress:  25%|##   | 1/4 [00:10<00:30]\r"),
}


@pytest.mark.parametrize("form", LOGS)
def test_each_form_of_log_gives_the_same_advice(form, tmp_path):
    file = tmp_path / "some.log"
    file.write_text(LOGS[form](ENTRIES))
    of_folder = facts_of(read_training(made.make_run(tmp_path / "run")))
    of_file = facts_of(read_training(file), 8)
    assert advise(of_file) == advise(of_folder)
    assert (of_file.steps, of_file.rollout_n, of_file.flat) == (of_folder.steps, 8, 0.25)


def test_the_split_of_a_recorded_run(tmp_path):
    """10 s a step, 5 of which shrink: see `report_runs`. The first of the four is not measured."""
    found = facts_of(read_training(made.make_run(tmp_path / "run")))
    assert (found.steps, found.rollout_n, found.batch, found.updates) == (3, 8, 4, 4)
    assert found.split.total == pytest.approx(10)
    assert (found.split.fixed, found.split.shrinking, found.split.shared) == pytest.approx((5, 5, 0.25))


def plain(steps: int = 4, **further: float) -> list[dict]:
    """The entries of verl's own trainer: none of ours among its metrics."""
    data = {key: value for key, value in made.step_data(1).items() if not key.startswith("cppo/")} | further
    return [{"step": step, "data": data | {"training/global_step": step}} for step in range(1, steps + 1)]


def logged(tmp_path, entries: list[dict]) -> TrainingLog:
    file = tmp_path / "verl.jsonl"
    file.write_text(json_lines(entries))
    return read_training(file)


def test_the_first_step_of_each_start_is_left_out(tmp_path):
    entries = plain()
    log = logged(tmp_path, entries[:3] + entries[2:])  # started again after step 2
    assert (log.steps.index.tolist(), log.left_out) == ([2, 4], 2)


def test_a_checkpoint_is_not_in_the_step(tmp_path):
    """verl's own timer of a step includes it, ours does not."""
    saving = {"timing_s/save_checkpoint": 100.0, "timing_s/testing": 50.0}
    verls = logged(tmp_path, plain(**saving | {"timing_s/step": 110.0}))
    assert facts_of(verls, 8).split.total == pytest.approx(10)
    entries = made.lines(steps=4)
    entries[3]["data"] |= saving
    assert facts_of(logged(tmp_path, entries)).split.total == pytest.approx(10)


def test_v1_that_samples_while_it_trains_is_told(tmp_path):
    assert not facts_of(logged(tmp_path, plain()), 8).overlapped
    assert facts_of(logged(tmp_path, plain(**{"timing_s/switch_wait": 0.1})), 8).overlapped
    stale = {"training/off_policy/trajectory_staleness_worst/mean": 1.0, "cppo/idle/engine": 0.75}
    found = facts_of(logged(tmp_path, plain(**stale)), 8)
    assert found.overlapped and found.most == pytest.approx(4)
    assert replace(found, engine_busy=None).most == math.inf


CONFIG = {
    "actor_rollout_ref": {
        "actor": {"ppo_mini_batch_size": 8, "ppo_epochs": 2, "clip": float("1e-3")},
        "rollout": {"max_num_seqs": 256, "n": 5, "val_kwargs": {"n": 1}},
    },
    "data": {"train_batch_size": 16, "prompt": "{% for m in messages %}\n{{ m }}\n" * 20},
}


@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_the_config_that_verl_prints_tells_g(prefix, tmp_path):
    printed = pprint.pformat(CONFIG).replace("\n", f"\n{'(pid=9) other' if prefix else ''}\n" if prefix else "\n")
    lines = [line if line.startswith("(pid=9)") else prefix + line for line in printed.splitlines() if line]
    file = tmp_path / "out.log"
    file.write_text("\n".join(["starting", *lines, f"{prefix}Using dataset class"]) + "\n" + console(plain(), prefix))
    found = facts_of(read_training(file))
    assert (found.rollout_n, found.batch, found.updates, found.concurrent) == (5, 16, 4, 256)


def test_a_config_that_breaks_off_is_not_known(tmp_path):
    file = tmp_path / "out.log"
    file.write_text(pprint.pformat(CONFIG)[:200] + "\n" + console(plain()))
    with pytest.raises(ConfigError, match="give --n"):
        facts_of(read_training(file))


def test_nothing_is_known_of_what_was_not_logged():
    steps = pd.DataFrame({"timing_s/step": [1.0], "timing_s/gen": [0.5], "timing_s/update_actor": [0.5]})
    found = facts_of(TrainingLog(steps, 1, {}), 4)
    unknown = ("batch", "updates", "concurrent", "flat", "engine_busy", "tail", "truncated", "scoring")
    assert [getattr(found, name) for name in unknown] == [None] * len(unknown)


# --- the command ---


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "there is no such file"),
        ("", "no step in it"),
        ("nothing of a run\n", "no step in it"),
        (json_lines(plain(1)), "at least one more is needed"),
        (json_lines([{"step": 1, "data": {"loss": 1.0}}]), "no timing_s/step, timing_s/gen, timing_s/update_actor"),
        (json_lines(plain()), "give --n"),
        (json_lines(made.lines(rate=0.5)), "this run prunes"),
        (json_lines(plain(**{"timing_s/update_critic": 1.0})), "trains a critic"),
    ],
)
def test_what_cannot_be_advised_is_one_line(text, says, tmp_path, capsys):
    file = tmp_path / "run.log"
    if text is not None:
        file.write_text(text)
    assert cppo_verl("advise", str(file)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and says in error and error.count("\n") == 1


def test_a_run_that_prunes_is_known_by_its_config(tmp_path, capsys):
    assert cppo_verl("advise", str(made.make_run(tmp_path / "run", rate=0.5))) == 2
    assert "this run prunes" in capsys.readouterr().err


def test_the_tables_and_the_sentence(tmp_path, capsys):
    assert cppo_verl("advise", str(made.make_run(tmp_path / "run"))) == 0
    shown = capsys.readouterr().out
    assert "generation" in shown and "40 %" in shown and "10.00" in shown
    assert "2.11x" in shown, "the limit: 10 / 4.75"
    assert "Use P = 0.75" in shown


def test_what_would_help_instead_is_a_list(tmp_path, capsys):
    file = tmp_path / "verl.jsonl"
    file.write_text(json_lines(plain(**{"timing_s/gen": 50.0, "timing_s/step": 56.0})))
    assert cppo_verl("advise", str(file), "--n", "8") == 0
    shown = capsys.readouterr().out
    assert shown.index("Do not prune") < shown.index("What would help instead:") < shown.index("- Generation: ")


def test_as_json(tmp_path, capsys):
    assert cppo_verl("advise", str(made.make_run(tmp_path / "run")), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["G"], told["steps"], told["use"]) == (8, 3, "0.75")
    assert [choice["P"] for choice in told["choices"]] == ["0", "0.5", "0.75", "0.875"]
    assert sum(told["seconds"].values()) == pytest.approx(10)


# --- the check against what was measured ---


def test_the_documented_check_is_that_of_the_results(repo):
    """Else: python scripts/check_advice.py, and its table into docs/scaling.md."""
    done = subprocess.run(
        [sys.executable, "scripts/check_advice.py"], check=True, capture_output=True, text=True, cwd=repo
    )
    sources = {line.split()[1] for line in done.stdout.splitlines()}
    assert sources >= {"benchmark", "study", "scaling,", "TRL,"}
    assert done.stdout in (repo / "docs/scaling.md").read_text()

"""A reward function of the user's own is tried before a run, in a process that ends within its limits."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest
from omegaconf import OmegaConf
from verl_rows import write_rows

from cppo_verl.preflight import reward_trial
from cppo_verl.preflight.reward_trial import CHECKED, remarks_on_reward, trial_faults, with_checked_results

HEAD = "def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs):\n    "


@pytest.fixture
def reward(config, tmp_path):
    """`reward("code", "key=value", ...)`: the config of a run with this function."""
    rows = write_rows(tmp_path / "rows.parquet", list("abcdefgh"))
    other = write_rows(tmp_path / "other.parquet", list("ab"), data_source=["openai/gsm8k", "other"])

    def made(code: str, *overrides: str):
        file = tmp_path / "mine.py"
        file.write_text(code if "compute_score" in code else HEAD + code)
        files = (f"data.train_files={rows}", f"data.val_files={other}")
        return config("recipe=gsm8k", f"reward.custom_reward_function.path={file}", *files, *overrides)

    return made


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("return None", r"compute_score of .*mine\.py returned None, for row 1 of .*rows\.parquet with the completion"),
        ("return float('nan')", 'returned nan, .*; return a finite number, or a dict with one under "score"'),
        ("return {'acc': 1.0}", r'returned a dict without "score" \(its keys: acc\), for row 1'),
        ("return None if data_source == 'other' else 1.0", r"returned None, for row 2 of .*other\.parquet"),
        ("return {'score': 1 if solution_str else None}", "returned None as \"score\", for row 1 .* completion ''"),
        ("return {}['acc']", r"raised KeyError: 'acc' \(mine\.py, line 2\), for row 1"),
        ("raise SystemExit(3)", r"raised SystemExit: 3"),
        ("import os; os._exit(3)", r"ended its process \(exit code 3: .*\), for row 1"),
        ("import os, sys; print('no such judge', file=sys.stderr, flush=True); os.abort()", "-6: no such judge"),
        ("def compute_score(data_source, solution_str): return 1", "raised TypeError: .*unexpected keyword argument"),
        (
            "import nothing_of_that_name\ndef compute_score(): pass",
            r"cannot be loaded: ModuleNotFoundError: .*line 1\)",
        ),
        ("import signal; signal.signal(signal.SIGALRM, print); return 1.0", "raised ValueError: signal only works in"),
    ],
)
def test_what_gives_no_reward_is_refused(reward, code, says):
    (fault,) = trial_faults(reward(code))
    assert fault.startswith("reward.custom_reward_function: ")
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(fault)


@pytest.mark.parametrize(
    "code", ["import time; time.sleep(600)", "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')"], ids=["sleeps", "in C"]
)
def test_one_that_hangs_is_ended(reward, code):
    (fault,) = trial_faults(reward(code, "cppo.reward_timeout=0.5"))
    assert "had not come to an end after 0.5 s, for row 1" in fault and "give it a limit of its own" in fault


def test_what_it_started_is_ended_with_it(reward, tmp_path):
    pid = tmp_path / "pid"
    sleep = "subprocess.Popen(['sleep', '600'])"
    code = f"import subprocess, pathlib; pathlib.Path({str(pid)!r}).write_text(str({sleep}.pid)); return 1.0"
    assert not list(trial_faults(reward(code)))
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(int(pid.read_text()))
        while started.status() != psutil.STATUS_ZOMBIE:  # as long as it runs: for ten minutes, or for ever
            assert time.time() - started.create_time() < 60
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("code", "names", "differs"),
    [
        ("return True", [], []),
        ("import numpy; return numpy.float32(0.5)", [], []),
        ("print('x'); return {'score': 1.0, 'acc': 1.0}", ["score", "acc"], []),
        ("return {'score': 1.0} | ({'acc': 1.0} if solution_str else {})", ["score", "acc"], ["acc"]),
        ("return {'score': 1, 'acc': 1} if solution_str else 0.0", ["score", "acc"], []),
    ],
)
def test_what_gives_rewards_is_taken(reward, code, names, differs):
    chosen = reward(code)
    assert not list(trial_faults(chosen))
    remarks = " ".join(remarks_on_reward(chosen))
    assert all(f"returns {name} for some completions and not for others" in remarks for name in differs)
    assert bool(remarks) == bool(differs)
    path = chosen.reward.custom_reward_function.path
    with_checked_results(chosen)
    own = chosen.reward.custom_reward_function
    assert (own.path, own.name) == (CHECKED, "compute_score")
    told = OmegaConf.to_container(own.reward_kwargs.own)
    assert told == {"path": path, "name": "compute_score", "kwargs": {}, "names": names}
    with_checked_results(chosen)
    assert chosen.reward.custom_reward_function.reward_kwargs.own.path == path, "once"


def test_a_coroutine_and_options_of_its_own(reward):
    code = "async def compute_score(data_source, solution_str, ground_truth, extra_info, bonus): return bonus / 2"
    chosen = reward(code, "+reward.custom_reward_function.reward_kwargs.bonus=1")
    assert not list(trial_faults(chosen))
    with_checked_results(chosen)
    own = chosen.reward.custom_reward_function
    assert own.name == "compute_score_async" and own.reward_kwargs.own.kwargs == {"bonus": 1}


def test_the_shipped_ones_and_those_that_need_a_judge_are_not_tried(reward, config, monkeypatch):
    monkeypatch.setattr(reward_trial, "try_out", None)
    chosen = [config("recipe=gsm8k"), config("recipe=math"), reward("return None", "reward.reward_model.enable=true")]
    for each in chosen:
        before = OmegaConf.to_container(each.reward.custom_reward_function)
        assert not list(trial_faults(each))
        with_checked_results(each)
        assert OmegaConf.to_container(each.reward.custom_reward_function) == before


def test_a_trial_imports_no_torch():
    """It takes as long as the user's own imports."""
    code = "import sys, cppo_verl.rewards.trial; print('torch' in sys.modules, 'pyarrow' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "False"]

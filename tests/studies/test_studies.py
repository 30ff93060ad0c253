"""Studies: every shipped one plans, its runs share a start where they can, and a finished run is not repeated."""

import json
import os
import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest
import report_runs
from omegaconf import OmegaConf
from rich.console import Console
from verl_rows import write_model, write_rows

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.config.sources import recipes
from cppo_verl.preflight.prepare import prepare
from cppo_verl.runs.endings import TERMINATED
from cppo_verl.runs.files import InUse, alone_in
from cppo_verl.runs.folder import DONE, METRICS_FILE, save_config
from cppo_verl.studies.command import find_made, is_complete, run_study
from cppo_verl.studies.sequence import main as train_sequence
from cppo_verl.studies.study import Study, find_study, inputs, plan_runs, share_starts

SHIPPED = sorted(path.stem for path in recipes().glob("*/studies/*.yaml"))


@pytest.fixture
def overrides(tmp_path):
    """Enough of a data set and a model for the checks before a start."""
    write_rows(tmp_path / "rows.parquet", ["q"] * 256)
    write_model(tmp_path)
    rows = f"{tmp_path}/rows.parquet"
    return [
        *("recipe=toy", "device=cpu", f"data.train_files={rows}", f"data.val_files={rows}"),
        f"actor_rollout_ref.model.path={tmp_path}",
    ]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_studies_plan_and_share_starts(name, overrides, tmp_path):
    study = find_study(name)
    seeds = [1, 2] if name == "modules" else [1]
    runs = plan_runs(study, seeds, [*overrides, "data.train_max_samples=128"], tmp_path / "out")
    assert [run.arm for run in runs] == [*study.arms] * len(seeds)
    assert len({run.folder for run in runs}) == len(runs)
    assert not any(is_complete(run) for run in runs)
    by_themselves = sum(run.config.trainer.use_v1 for run in runs)
    own = {
        (run.config.actor_rollout_ref.rollout.n, run.config.cppo.lr_scale)
        for run in runs
        if not run.config.trainer.use_v1
    }
    assert len(share_starts(runs)) == len(own) + by_themselves, "a start for each G and rate, and for each run of V1"
    assert {run.config.data.seed for run in runs} == set(seeds)
    seeded = [run for run in runs if "async" not in run.config.trainer.v1.trainer_mode or not run.config.trainer.use_v1]
    assert all(run.config.cppo.rollout_seed == run.config.data.seed for run in seeded)


def test_what_the_engine_reads_needs_a_start_of_its_own(overrides, tmp_path):
    study = find_study("scope")
    with_checkpoints = plan_runs(study, [1], [*overrides, "trainer.save_freq=10"], tmp_path)
    assert len(share_starts(with_checkpoints)) == 2
    (one, *_), (other, *_) = (
        plan_runs(study, [1], [*overrides, f"actor_rollout_ref.actor.optim.lr={lr}"], tmp_path) for lr in (1e-4, 2e-4)
    )
    assert len(share_starts([one, other])) == 2


def test_an_arm_with_another_loss_needs_a_start_of_its_own(overrides, tmp_path):
    study = Study("s", "", {"with": [], "without": ["cppo.skip_old_log_prob=true"]})
    one_pass = "actor_rollout_ref.actor.ppo_epochs=1"
    assert len(share_starts(plan_runs(study, [1], [*overrides, one_pass], tmp_path))) == 2


def test_an_arm_with_another_limit_to_the_wait_for_rewards_needs_a_start_of_its_own(overrides, tmp_path):
    """The agent loops read it."""
    study = Study("s", "", {"short": ["cppo.reward_timeout=5"], "long": ["cppo.reward_timeout=500"], "usual": []})
    assert len(share_starts(plan_runs(study, [1], overrides, tmp_path))) == 3


def test_an_arm_with_another_learning_rate_needs_a_start_of_its_own(overrides, tmp_path):
    study = Study("s", "", {f"P={rate}": [f"cppo.pruning_rate={rate}"] for rate in (0, 0.5, 0.75)})
    for scale, starts in {"none": 1, "sqrt": 3}.items():
        runs = plan_runs(study, [1], [*overrides, f"cppo.lr_scale={scale}"], tmp_path)
        assert len(share_starts(runs)) == starts


@pytest.mark.parametrize(
    "schedule",
    [
        ("lr_scheduler_type=cosine",),
        ("warmup_style=cosine",),  # verl's deprecated name
        ("lr_warmup_steps=0", "lr_warmup_steps_ratio=0.1"),  # verl takes a 0 for "not given"
    ],
)
def test_arms_whose_learning_rate_depends_on_their_number_of_steps_do_not_share_a_start(overrides, tmp_path, schedule):
    arms = {"GRPO": ["cppo.pruning_rate=0"], "CPPO": ["cppo.pruning_rate=0.5"]}
    study, limit = Study(name="two", about="", arms=arms), "data.train_max_samples=64"
    optim = [f"actor_rollout_ref.actor.optim.{option}" for option in schedule]
    assert len(share_starts(plan_runs(study, [1], [*overrides, limit, *optim], tmp_path))) == len(study.arms)
    fixed = "trainer.total_training_steps=2"
    assert len(share_starts(plan_runs(study, [1], [*overrides, limit, *optim, fixed], tmp_path))) == 1


def test_a_complete_run_is_skipped_and_another_one_is_not_overwritten(overrides, tmp_path):
    def first_run(*further: str):
        return plan_runs(find_study("scope"), [1], [*overrides, "data.train_max_samples=64", *further], tmp_path)[0]

    run = first_run()
    assert not is_complete(run)
    save_config(run.config)
    assert not is_complete(first_run()), "begun, not finished"
    (run.folder / DONE).write_text(inputs(run.config))
    assert is_complete(first_run())
    pd.read_parquet(tmp_path / "rows.parquet").to_parquet(tmp_path / "rows.parquet")
    assert is_complete(first_run()), "the same rows, prepared again"
    with pytest.raises(ConfigError, match="holds a run with other settings"):
        is_complete(first_run("actor_rollout_ref.actor.kl_loss_coef=0.5"))
    assert OmegaConf.load(run.folder / "config.yaml") == run.config
    write_rows(tmp_path / "rows.parquet", ["other"] * 256)
    with pytest.raises(ConfigError, match="holds a run on other data or model files"):
        is_complete(first_run())


def test_a_run_that_another_study_has_made_is_not_repeated(overrides, tmp_path):
    given, shared = [*overrides, "data.train_max_samples=64"], ["cppo.pruning_rate=0.5"]

    def planned(study: str, arm: str, *further: str):
        return plan_runs(Study(study, "", {arm: shared}), [1], [*given, *further], tmp_path / study)[0]

    one, other = planned("one", "P=0.5"), planned("other", "+ allocation")
    prepare(one.config)
    save_config(one.config)
    assert find_made(other, tmp_path / "other") is None, "begun, not finished"
    (one.folder / DONE).write_text(inputs(one.config))
    assert find_made(other, tmp_path / "other") == one.folder
    assert find_made(other, tmp_path / "other", own_runs=True) is None
    assert find_made(planned("other", "+ allocation", "cppo.metric=random"), tmp_path / "other") is None
    assert find_made(other, tmp_path / "elsewhere" / "other") is None
    (one.folder / DONE).write_text("of other data")
    assert find_made(other, tmp_path / "other") is None


def test_the_last_line_says_what_a_person_came_for(overrides, tmp_path, capsys):
    arms = {"GRPO": ["cppo.pruning_rate=0", "cppo.allocation=false"], "CPPO": ["cppo.pruning_rate=0.75"]}
    study, given = Study("two", "", arms), [*overrides, "data.train_max_samples=32"]
    for run, rate, steps in zip(plan_runs(study, [0], given, tmp_path / "out"), (0, 0.75), (4, 1), strict=True):
        prepare(run.config)
        save_config(run.config)
        logged = report_runs.lines(rate=rate, steps=steps, accuracies=(0.4, 0.8))
        (run.folder / METRICS_FILE).write_text("".join(json.dumps(entry) + "\n" for entry in logged))
        (run.folder / DONE).write_text(inputs(run.config))
    assert run_study(study, [0], given, tmp_path / "out", Console(width=200), target=60) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "CPPO reached 60 % after 11 s, GRPO after 20 s: 1.8x sooner; at the end 80 % and 80 %."


def test_unknown_studies_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no study 'pruning'; did you mean pruning_rate\?; there are"):
        find_study("pruning")
    (tmp_path / "empty.yaml").write_text("about: nothing")
    with pytest.raises(ConfigError, match="has no arms"):
        find_study(f"{tmp_path}/empty.yaml")


STARTS_A_SLEEPER = """
import sys
from pathlib import Path

from omegaconf import OmegaConf
from rich.console import Console

from cppo_verl.studies import command
from cppo_verl.studies.study import Run

command._show_progress = lambda process, *_: process.wait()
run = Run("run", "arm", 0, OmegaConf.create({"trainer": {"default_local_dir": "run"}}))
command.train_group([run], Path(sys.argv[1]), Console(), module="sleeper")
"""


def test_a_study_that_is_ended_ends_what_it_started(tmp_path):
    (tmp_path / "sleeper.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(600)\n")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    study, log = (
        subprocess.Popen([sys.executable, "-c", STARTS_A_SLEEPER, str(tmp_path)], env=env),
        tmp_path / "run.log",
    )
    try:
        while not (log.is_file() and "up" in log.read_text()):
            assert study.poll() is None
            time.sleep(0.1)
        (child,) = psutil.Process(study.pid).children()
        study.terminate()
        assert study.wait(60) == TERMINATED
        assert not child.is_running()
    finally:
        study.kill()


def test_runs_that_share_a_start_are_each_alone_in_their_folder(tmp_path, overrides):
    first, last = plan_runs(Study("one", "", {"a": [], "b": []}), [1], overrides, tmp_path)
    save_config(first.config)
    with alone_in(last.folder), pytest.raises(InUse, match=f"another run writes into {last.folder}"):
        train_sequence([str(first.folder), str(last.folder)])

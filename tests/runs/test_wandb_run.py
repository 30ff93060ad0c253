"""All starts of a run log into one wandb run; tensorboard writes its file. Both are the real packages, offline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cppo_verl.runs.checkpoints import mark_complete
from cppo_verl.runs.wandb_run import wandb_environment
from cppo_verl.sft.going_on import goes_on_from

LOG_A_STEP = """
import sys
from verl.utils.tracking import Tracking

step = int(sys.argv[1])
tracking = Tracking("project", "run", ["wandb", "tensorboard"], {"trainer": {}})
tracking.log({"reward": 0.5}, step=step)
tracking.finish()
"""


def trainer_config(folder, **changed):
    """The config's `trainer` of a run that logs to wandb."""
    own = {"logger": ["console", "wandb"], "default_local_dir": str(folder), "resume_mode": "auto"}
    return OmegaConf.create({**own, "resume_from_path": None, **changed})


def run_id(folder, environment=(), **changed) -> str:
    """The id that a start is given."""
    return wandb_environment(trainer_config(folder, **changed), dict(environment))["WANDB_RUN_ID"]


def save(folder: Path, step: int) -> str:
    """A complete checkpoint of the run."""
    checkpoint = folder / f"global_step_{step}"
    checkpoint.mkdir()
    mark_complete(checkpoint)
    return str(checkpoint)


def test_without_wandb_nothing_is_given_or_written(tmp_path):
    assert wandb_environment(trainer_config(tmp_path, logger="console"), {}) == {}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("logger", ["wandb", ["console", "tracking"]])
def test_a_resumed_run_goes_on_in_its_wandb_run(tmp_path, logger):
    first = run_id(tmp_path, logger=logger)
    save(tmp_path, 2)
    assert run_id(tmp_path, logger=logger) == first
    assert wandb_environment(trainer_config(tmp_path), {})["WANDB_RESUME"] == "allow"


def test_a_run_that_starts_anew_gets_a_new_one(tmp_path):
    first = run_id(tmp_path)
    second = run_id(tmp_path)  # no checkpoint
    save(tmp_path, 2)
    third = run_id(tmp_path, resume_mode="disable")
    assert len({first, second, third}) == 3
    assert run_id(tmp_path) == third


def test_a_run_that_goes_back_gets_a_new_one(tmp_path):
    """wandb would drop what is logged again."""
    first = run_id(tmp_path)
    earlier, last = save(tmp_path, 2), save(tmp_path, 4)
    assert run_id(tmp_path, resume_mode="resume_path", resume_from_path=last) == first
    assert run_id(tmp_path, resume_mode="resume_path", resume_from_path=earlier) != first


def test_a_warm_start_that_goes_back_gets_a_new_one(tmp_path):
    """verl's SFT trainer takes a path also with `resume_mode=auto`."""
    first, earlier, last = run_id(tmp_path), save(tmp_path, 2), save(tmp_path, 4)
    for path, is_same in ((last, True), (earlier, False)):
        config = OmegaConf.create({"trainer": trainer_config(tmp_path, resume_from_path=path)})
        given = wandb_environment(config.trainer, {}, goes_on_from(config))
        assert (given["WANDB_RUN_ID"] == first) == is_same


def test_a_validation_alone_is_no_part_of_the_runs(tmp_path):
    first = run_id(tmp_path)
    save(tmp_path, 2)
    assert wandb_environment(trainer_config(tmp_path, val_only=True), {}) == {}
    assert run_id(tmp_path) == first


def test_the_users_own_goes_first_and_is_kept(tmp_path):
    own = {"WANDB_RUN_ID": "mine", "WANDB_RESUME": "must"}
    assert wandb_environment(trainer_config(tmp_path), own) == own
    save(tmp_path, 2)
    assert run_id(tmp_path) == "mine"


def test_two_starts_log_into_one_run(tmp_path):
    """verl's own `Tracking`, in two processes that are given what two starts of a run would be."""
    folder = tmp_path / "run"
    for step in (1, 2):
        given = wandb_environment(trainer_config(folder), {})
        env = os.environ | given | {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", LOG_A_STEP, str(step)], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
        save(folder, step)
    logged = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert [path.name.rpartition("-")[2] for path in logged] == [given["WANDB_RUN_ID"]] * 2
    assert len(list((tmp_path / "tensorboard_log/project/run").glob("events.out.tfevents.*"))) == 2

"""A start: what it leaves behind, what it says when the ranks fail, and that it is not finished before they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.runs.checkpoints import LATEST, mark_complete
from cppo_verl.runs.files import InUse, alone_in
from cppo_verl.sft import command, launcher
from cppo_verl.sft.launcher import RANK_LOCK


@pytest.fixture
def start(sft, model, tmp_path, monkeypatch):
    """`start(ranks, "key=value", ...)`: a start whose ranks are this function of the run's folder, which gives their
    exit code."""
    chat = [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}]
    pd.DataFrame({"messages": [chat] * 8}).to_parquet(tmp_path / "train.parquet")
    monkeypatch.setattr("cppo_verl.sft.checks.weights_fault", lambda _: None)  # the model has none
    files = (f"data.train_files={tmp_path}/train.parquet", "data.val_files=null", "trainer.test_freq=-1")
    always = ("device=cpu", f"model.path={model}", *files, "data.train_batch_size=4", "data.max_length=64")

    def started(ranks, *overrides: str) -> None:
        monkeypatch.setattr(command, "run_ranks", lambda file, *_: ranks(file.parent))
        command.run(sft(*always, f"trainer.default_local_dir={tmp_path}/run", *overrides))

    return started


@pytest.fixture
def saves(model):
    """`saves(step, is_whole=True, code=0)`: ranks that save a checkpoint, or half of one, and end with a code."""

    def ranks(step: int, is_whole: bool = True, code: int = 0):
        def save(run: Path) -> int:
            checkpoint = run / f"global_step_{step}"
            shutil.copytree(model, checkpoint / "huggingface")
            (checkpoint / "model_world_size_1_rank_0.pt").write_text("w")
            if is_whole:
                mark_complete(checkpoint)
            (run / LATEST).write_text(str(step))
            return code

        return save

    return ranks


def test_a_start_that_fails_says_where_the_next_goes_on(start, saves, tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"exit code 1, .* The same command, started again, goes on after step 2$"):
        start(saves(2, code=1))
    with pytest.raises(SystemExit, match=r"goes on after step 2$"):
        start(saves(4, is_whole=False, code=-9))
    assert "Finished" not in capsys.readouterr().out

    def finds_the_last_that_is_whole(run: Path) -> int:
        assert (run / LATEST).read_text() == "2" and (run / "incomplete/global_step_4").is_dir()
        return saves(4)(run)

    start(finds_the_last_that_is_whole)
    assert f"Finished. Model of step 4: {tmp_path}/run/model" in capsys.readouterr().out
    assert (tmp_path / "run/model/config.json").is_file()


def test_nothing_starts_beside_the_rank_of_an_earlier_start(start, saves, tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "STRAY_SECONDS", 0.1)
    (tmp_path / "run").mkdir()
    with alone_in(tmp_path / "run", RANK_LOCK.format(0)), pytest.raises(InUse):
        start(saves(2))
    start(saves(2))


def test_what_a_run_began_anew_leaves_behind(start, saves, tmp_path, capsys):
    start(saves(6))
    start(saves(2), "trainer.resume_mode=disable")
    assert (tmp_path / "run/abandoned/global_step_6").is_dir()
    assert "Finished. Model of step 2" in capsys.readouterr().out


def test_another_number_of_ranks(start, saves):
    start(saves(2))
    with pytest.raises(ConfigError, match=r"global_step_2 is of 1 rank.s., but trainer.n_gpus_per_node=2; set it to 1"):
        start(saves(4), "trainer.n_gpus_per_node=2")

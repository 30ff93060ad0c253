"""A run goes on from its latest complete checkpoint, whatever moment it was killed in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cppo_verl.runs.checkpoints import LATEST, CheckpointError, Checkpoints, fault

FILES = ("actor/model_world_size_1_rank_0.pt", "actor/optim_world_size_1_rank_0.pt", "data.pt")


class Killed(BaseException):
    """What stops a save without any clean-up."""


def save(run: Path, step: int, *, keep: int | None = None, until: int | None = None, fails=Killed) -> None:
    """Save a checkpoint as the trainer does; stopped after `until` of its files, the last of them half-written.

    With all files written but `until` given, it is stopped before the tracker names the step.
    """
    checkpoints, folder = Checkpoints(run, keep), run / f"global_step_{step}"
    try:
        with checkpoints.saving(step):
            for number, name in enumerate(FILES):
                if number == until:
                    break
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                torch.save({"step": step}, folder / name)
            if until is not None:
                if until:
                    last = folder / FILES[until - 1]
                    last.write_bytes(last.read_bytes()[:100])
                raise fails("no space left on device")
            (run / LATEST).write_text(str(step))
    except Killed:
        pass


def steps(run: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("global_step_")) for path in run.glob("global_step_*"))


@pytest.mark.parametrize("files", range(len(FILES) + 1))
def test_a_checkpoint_that_a_kill_left_half_written_is_passed_over_and_not_deleted(tmp_path, capsys, files):
    save(tmp_path, 2)
    save(tmp_path, 4, until=files)
    found = Checkpoints(tmp_path).recover()
    assert found == tmp_path / "global_step_2" and not fault(found)
    assert (tmp_path / LATEST).read_text() == "2"
    assert steps(tmp_path) == [2]
    if files:
        assert "global_step_4 is not complete (it has no complete.json): moved to" in capsys.readouterr().out
        assert (tmp_path / "incomplete/global_step_4" / FILES[0]).exists()


def test_a_run_whose_first_checkpoint_is_not_complete_starts_from_scratch_and_says_so(tmp_path, capsys):
    assert Checkpoints(tmp_path).recover() is None
    assert not capsys.readouterr().out, "a new run"
    save(tmp_path, 2, until=1)
    (tmp_path / LATEST).write_text("2")
    assert Checkpoints(tmp_path).recover() is None
    assert "has no complete checkpoint: the run starts from the beginning" in capsys.readouterr().out
    assert not (tmp_path / LATEST).exists(), "verl reads it"
    save(tmp_path, 2, until=1)
    assert Checkpoints(tmp_path).recover() is None
    assert len(list((tmp_path / "incomplete").iterdir())) == 2, "neither is deleted"


@pytest.mark.parametrize("tracker", ["", "4x", None, "4"])
def test_the_tracker_is_mended(tmp_path, tracker):
    for step in (2, 4):
        save(tmp_path, step)
    (tmp_path / LATEST).unlink() if tracker is None else (tmp_path / LATEST).write_text(tracker)
    assert Checkpoints(tmp_path).recover() == tmp_path / "global_step_4"
    assert (tmp_path / LATEST).read_text() == "4"


def test_a_run_that_went_back_goes_on_from_where_the_tracker_says(tmp_path):
    for step in (2, 4, 6):
        save(tmp_path, step)
    (tmp_path / LATEST).write_text("2")
    assert Checkpoints(tmp_path).recover() == tmp_path / "global_step_2"
    save(tmp_path, 4, until=2)
    assert Checkpoints(tmp_path).recover() == tmp_path / "global_step_2"
    assert steps(tmp_path) == [2, 6]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda folder: (folder / FILES[0]).unlink(), "model_world_size_1_rank_0.pt is gone"),
        (lambda folder: (folder / FILES[1]).write_bytes(b"x"), "optim_world_size_1_rank_0.pt has 1 bytes instead of"),
        (lambda folder: (folder / "complete.json").write_text(""), "complete.json cannot be read"),
        (lambda folder: (folder / "complete.json").write_text("null"), "complete.json cannot be read"),
    ],
)
def test_a_checkpoint_that_was_spoiled_later_is_passed_over(tmp_path, capsys, spoil, why):
    for step in (2, 4):
        save(tmp_path, step)
    spoil(tmp_path / "global_step_4")
    assert Checkpoints(tmp_path).recover() == tmp_path / "global_step_2"
    assert why in capsys.readouterr().out


def test_a_checkpoint_of_verls_own_trainer_is_taken(tmp_path):
    save(tmp_path, 2)
    (tmp_path / "global_step_2/complete.json").unlink()
    assert Checkpoints(tmp_path).recover() == tmp_path / "global_step_2"
    (tmp_path / "global_step_2/data.pt").write_bytes(b"PK")
    assert Checkpoints(tmp_path).recover() is None


def test_one_that_the_tracker_names_before_it_is_complete_is_passed_over(tmp_path):
    """The machine stops when verl has written all its files, the tracker too, and they are not all on the disk."""
    save(tmp_path, 2)
    save(tmp_path, 4, until=len(FILES))
    (tmp_path / "global_step_4" / FILES[-1]).write_bytes((tmp_path / "global_step_2" / FILES[-1]).read_bytes())
    (tmp_path / LATEST).write_text("4")
    assert Checkpoints(tmp_path).recover() == tmp_path / "global_step_2"


@pytest.mark.parametrize(
    ("step", "left", "tracker"), [(2, [2], "2"), (3, [2], None), (0, [], None), (6, [2, 4, 6], "6")]
)
def test_a_run_that_is_told_to_go_back_leaves_the_later_ones_behind(tmp_path, capsys, step, left, tracker):
    for saved in (2, 4, 6):
        save(tmp_path, saved)
    Checkpoints(tmp_path).go_back_to(step)
    assert steps(tmp_path) == left
    assert steps(tmp_path / "abandoned") == [saved for saved in (2, 4, 6) if saved not in left]
    assert ("which may be deleted" in capsys.readouterr().out) == (len(left) < 3)
    assert ((tmp_path / LATEST).read_text() if (tmp_path / LATEST).exists() else None) == tracker


@pytest.mark.parametrize("keep", [None, 1, 2])
def test_older_ones_go_after_the_new_one_is_complete(tmp_path, keep):
    for step in (2, 4, 6):
        save(tmp_path, step, keep=keep)
    assert steps(tmp_path) == [2, 4, 6][-(keep or 3) :]
    save(tmp_path, 8, keep=keep, until=3)
    assert steps(tmp_path) == [*[2, 4, 6][-(keep or 3) :], 8], "none goes before it"


def test_a_kill_while_an_old_one_is_deleted_leaves_no_checkpoint_that_is_not_one(tmp_path, monkeypatch):
    for step in (2, 4):
        save(tmp_path, step)

    def killed(folder, **_):
        if folder.is_dir():
            (folder / FILES[0]).unlink()
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("cppo_verl.runs.checkpoints.shutil.rmtree", killed)
        save(tmp_path, 2)  # the same step again, as after a resume from an earlier one
    assert steps(tmp_path) == [4]
    assert not any(fault(folder) for folder in tmp_path.glob("global_step_*"))
    save(tmp_path, 2)
    assert steps(tmp_path) == [2, 4] and not list(tmp_path.glob(".*removed"))


def test_what_an_earlier_start_saved_as_this_step_is_not_written_into(tmp_path):
    save(tmp_path, 2)
    of_another_world = tmp_path / "global_step_2/actor/model_world_size_2_rank_1.pt"
    of_another_world.write_bytes(b"")
    save(tmp_path, 2)
    assert not of_another_world.exists() and not fault(tmp_path / "global_step_2")


def test_a_failed_save_says_what_failed_and_leaves_the_older_ones(tmp_path):
    save(tmp_path, 2)
    message = r"global_step_4 could not be written \(.* GiB free there\): OSError: no space left"
    with pytest.raises(CheckpointError, match=message):
        save(tmp_path, 4, until=2, fails=OSError)
    assert Checkpoints(tmp_path).last_complete() == tmp_path / "global_step_2"
    assert (tmp_path / "global_step_4").is_dir(), "asking moves nothing"
    assert Checkpoints(tmp_path).recover() == tmp_path / "global_step_2"

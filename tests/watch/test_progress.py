"""`progress.jsonl`: written, followed, and put into words."""

import io
import math

import pytest

from cppo_verl.runs.folder import PROGRESS_FILE
from cppo_verl.watch.display import Display, Pace
from cppo_verl.watch.event_text import describe, started
from cppo_verl.watch.progress import Follower, ProgressLog, read_event, step_event

STEP = {
    "event": "step",
    "step": 12,
    "steps": 468,
    "questions": 32,
    "reward": 0.8524,
    "accuracy": 0.616,
    "length": 333.3,
    "kept": 128,
    "sampled": 512,
    "zero_variance": 7,
    "generation_s": 10.34,
    "training_s": 201.6,
}


def events(follower: Follower) -> list[dict]:
    """What has come, without its time."""
    return [{k: v for k, v in read_event(line).items() if k != "time"} for line in follower.lines()]


def test_a_start_is_followed_and_the_next_one_from_its_beginning(tmp_path):
    follower, path = Follower(tmp_path / PROGRESS_FILE), tmp_path / PROGRESS_FILE
    assert events(follower) == [], "the file is not there yet"
    first = ProgressLog(tmp_path)
    first.tell("waiting", what="the weights")
    assert events(follower) == [{"event": "waiting", "what": "the weights"}]
    first.tell("alarm", text="ä")
    ProgressLog(tmp_path).tell("training", step=0, steps=3, questions=4)
    assert [event["event"] for event in events(follower)] == ["alarm", "training"]
    assert events(follower) == []
    assert path.read_text().count("\n") == 1, "the new start's alone"


def test_a_line_is_read_when_it_is_whole(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("before\nhal")
    follower = Follower(path, position=len("before\n"))
    assert list(follower.lines()) == []
    with path.open("a") as file:
        file.write("f\nnext\n")
    assert list(follower.lines()) == ["half", "next"]


def test_a_folder_that_cannot_be_written_to_ends_no_run(tmp_path):
    (tmp_path / PROGRESS_FILE).mkdir()
    ProgressLog(tmp_path).tell("training", step=0, steps=3, questions=4)


@pytest.mark.parametrize("line", ["", '{"event": "st', "[1]", '{"step": 1}', "\ufffd"])
def test_what_is_no_event_is_passed_over(line):
    assert read_event(line) is None


def test_a_step_event_has_what_is_known():
    metrics = {"cppo/questions": 8, "cppo/completions_kept": 32, "cppo/completions_sampled": 64, "actor/lr": 1.0}
    seconds = {"gen": 2.0, "old_log_prob": 0.5, "ref": 0.25, "update_actor": 1.0, "step": 9.0}
    assert step_event(3, 10, metrics, seconds) == {
        "step": 3,
        "steps": 10,
        "questions": 8,
        "kept": 32,
        "sampled": 64,
        "generation_s": 2.0,
        "training_s": 1.75,
    }


def test_a_step_fits_a_line():
    line = describe(STEP)
    assert line == (
        "step  12/468  reward 0.85  accuracy 62%  length 333  kept 128/512  zero-variance 7/32  "
        "generation 10.3 s  training 202 s"
    )
    assert len(line) <= 120
    short = {"event": "step", "step": 1, "steps": 2, "generation_s": 1.0, "training_s": 0.0}
    assert describe(short) == "step 1/2  generation 1.0 s  training 0.0 s"


def test_validations_and_checkpoints_have_a_line():
    validation = {
        "event": "validation",
        "step": 5,
        "seconds": 3.21,
        "accuracy": 0.3125,
        "questions": 256,
        "best": True,
    }
    assert describe(validation) == "validation after step 5: accuracy 31.2% of 256 questions, the best so far (3.2 s)"
    assert describe({"event": "validation", "step": 0, "seconds": 1}) == "validation before training: done (1.0 s)"
    checkpoint = {"event": "checkpoint", "step": 5, "seconds": 2, "path": "run/global_step_5"}
    assert describe(checkpoint) == "checkpoint after step 5: global_step_5 (2.0 s)"
    assert describe({"event": "busy", "what": "validating"}) is None


def test_a_start_in_words():
    assert started([("Ray", 10.0), ("the weights", 15.0)], 27.0) == "started in 17 s: Ray 5 s, weights 12 s"


def test_time_left_is_that_of_the_last_steps():
    pace = Pace()
    pace.reach(100.0, 5)
    assert pace.left(103.0, 10) is None, "no step has been made"
    pace.reach(110.0, 6)
    assert pace.left(110.0, 10) == 40.0
    assert pace.left(116.0, 10) == 34.0
    assert pace.left(900.0, 10) == 0.0
    for step in range(7, 40):
        pace.reach(100.0 + 20 * step, step)
    assert math.isclose(pace.left(100.0 + 20 * 39, 49), 200.0), "the first, quicker ones no longer count"


def test_a_run_that_goes_on_says_from_where():
    terminal = io.StringIO()
    with Display(terminal, clock=lambda: 7.0) as display:
        for what in ("Ray", "Ray", "the trainer", "Ray"):
            display.show({"event": "waiting", "time": 1.0, "what": what})
        display.show({"event": "training", "time": 7.0, "step": 5, "steps": 10, "questions": 4})
        display.show({"event": "alarm", "time": 8.0, "text": "[all] rewards are equal"})
        display.draw()
    assert terminal.getvalue().splitlines() == [
        "waiting for Ray",
        "waiting for the trainer",
        "waiting for Ray",
        "started in 6 s: Ray 6 s",
        "resuming after step 5 of 10",
        "warning: [all] rewards are equal",
    ]

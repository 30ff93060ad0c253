"""A start that failed because a port was taken is made again, and no other."""

import errno
import json
import pickle

import pytest
import zmq
from ray import exceptions
from torch.distributed import DistNetworkError

from cppo_verl.runs.causes import explain, is_port_taken
from cppo_verl.runs.port_retry import STARTS, start_on_free_ports

LISTEN = "The server socket has failed to listen on any local network address. port: 29500, code: -98, name: EADDRINUSE"


def through_ray(error: Exception) -> Exception:
    """The error as it reaches the driver, from a task that Ray ran."""
    alone = pickle.loads(pickle.dumps(error))  # without what it came of
    return exceptions.RayTaskError("run", "its traceback", alone).as_instanceof_cause()


def not_started(error: Exception) -> exceptions.ActorDiedError:
    """What Ray raises for an actor whose `__init__` raised."""
    said = f"Traceback ...\n{type(error).__name__}: {error}"
    return exceptions.ActorDiedError(exceptions.RayTaskError("__init__", said, error))


class Starts:
    """Fails with these errors in turn, then trains; counts how often it was called."""

    def __init__(self, *errors: BaseException):
        self.errors, self.count = list(errors), 0

    def __call__(self) -> None:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)


TAKEN = [
    OSError(errno.EADDRINUSE, "Address already in use"),
    zmq.ZMQError(errno.EADDRINUSE),
    DistNetworkError(LISTEN),
    through_ray(not_started(DistNetworkError(LISTEN))),
    through_ray(RuntimeError("[Errno 98] error while attempting to bind: address already in use")),
]


@pytest.mark.parametrize("error", TAKEN, ids=lambda error: type(error).__name__)
def test_a_port_that_is_taken_is_known_through_whatever_hands_it_on(error, tmp_path, capsys):
    start = Starts(error)
    start_on_free_ports(start, tmp_path)
    assert start.count == 2
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith(
        "note: The run is started again: a port that was free when it was picked has been taken since: "
    )
    assert explain(error).endswith("Start the run again")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        through_ray(not_started(ImportError("no module named nothing"))),
        KeyboardInterrupt(),
        SystemExit(143),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_other_start_is_made_again(error, tmp_path):
    start = Starts(error)
    with pytest.raises(type(error)):
        start_on_free_ports(start, tmp_path)
    assert start.count == 1 and not is_port_taken(error)


def test_it_is_given_up(tmp_path):
    start = Starts(*TAKEN)
    with pytest.raises(DistNetworkError):
        start_on_free_ports(start, tmp_path)
    assert start.count == STARTS == 3


def line(step: int, **metrics: float) -> str:
    return json.dumps({"step": step, "data": metrics}) + "\n"


STEP = line(1, **{"training/global_step": 1, "reward": 0.5})


@pytest.mark.parametrize(
    ("before", "after", "starts"),
    [
        ({}, {"metrics.jsonl": STEP}, 1),
        ({}, {"metrics.jsonl": line(0, val=0.1)}, 2),  # the validation before training
        ({"metrics.jsonl": STEP}, {"metrics.jsonl": "", "metrics.jsonl.before": STEP}, 2),  # the log was opened
        ({"metrics.jsonl": STEP}, {"metrics.jsonl": STEP + line(2, **{"training/global_step": 2})}, 1),
        ({}, {"global_step_1/complete.json": "{}"}, 1),
        ({"global_step_1/complete.json": "{}"}, {}, 2),
    ],
    ids=["a step", "a validation", "opened", "another step", "a checkpoint", "an earlier checkpoint"],
)
def test_once_a_step_is_trained_the_run_is_not_started_again(before, after, starts, tmp_path):
    def write(files: dict[str, str]) -> None:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content)

    class Training(Starts):
        def __call__(self) -> None:
            write(after)
            super().__call__()

    write(before)
    start = Training(TAKEN[0])
    try:
        start_on_free_ports(start, tmp_path)
    except OSError as error:
        assert starts == 1 and error is TAKEN[0]
    assert start.count == starts

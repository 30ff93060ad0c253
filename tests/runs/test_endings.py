"""What a run that ends before its end says last."""

import errno
import pickle
import re
import signal
from types import SimpleNamespace

import pytest
import torch
from ray import exceptions
from ray.core.generated.common_pb2 import ActorDiedErrorContext

from cppo_verl.runs.causes import explain
from cppo_verl.runs.checkpoints import CheckpointError, mark_complete
from cppo_verl.runs.endings import INTERRUPTED, TERMINATED, Terminable, explained
from cppo_verl.trainer.watchdog import RolloutEngineDied


def through_ray(error: Exception) -> Exception:
    """The error as it reaches the driver, from a task that Ray ran."""
    alone = pickle.loads(pickle.dumps(error))  # without what it came of
    return exceptions.RayTaskError("run", "its traceback", alone).as_instanceof_cause()


def died(why: str) -> exceptions.ActorDiedError:
    """What Ray raises for a call to an actor that is gone."""
    return exceptions.ActorDiedError(ActorDiedErrorContext(error_message=why, actor_id=b"0" * 16))


def failed_save(cause: Exception) -> CheckpointError:
    try:
        found = getattr(cause, "cause", None) or cause
        message = (
            f"the checkpoint global_step_4 could not be written (1.0 GiB free there): {type(found).__name__}: {found}"
        )
        raise CheckpointError(message) from cause
    except CheckpointError as error:
        return error


def not_started(error: Exception) -> exceptions.ActorDiedError:
    """What Ray raises for an actor whose `__init__` raised."""
    return exceptions.ActorDiedError(
        exceptions.RayTaskError("__init__", f"Traceback ...\n{type(error).__name__}: {error}", error)
    )


def renamed(inner: Exception, outer: Exception) -> Exception:
    """An error that was raised while another one was handled."""
    outer.__context__ = inner
    return outer


FULL = OSError(errno.ENOSPC, "No space left on device", "model.pt")
NODE = "The actor died because its node has died. Node Id: 17"
MEMORY = "Task was killed due to the node running low on memory."


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FULL, "the disk is full: .*model.pt.* Make room"),
        (failed_save(FULL), "the disk is full: the checkpoint global_step_4 .* Make room"),
        (through_ray(failed_save(through_ray(FULL))), "the disk is full: the checkpoint global_step_4 .* Make room"),
        (RuntimeError("PytorchStreamWriter failed writing file data/3"), "the disk is full"),
        (failed_save(RuntimeError("[enforce fail] . unexpected pos 910592 vs 910544")), "the disk is full: the checkp"),
        (failed_save(ValueError("odd")), "the checkpoint global_step_4 could not be written"),
        (through_ray(RolloutEngineDied("the rollout engine at 1.2.3.4:5 has died")), "the rollout engine at 1.2.3.4:5"),
        (through_ray(torch.OutOfMemoryError("tried to allocate 2 GiB")), "a GPU's memory ran out: .*2 GiB"),
        (through_ray(exceptions.OutOfMemoryError(MEMORY)), "the machine's memory ran out"),
        (died(MEMORY), "the machine's memory ran out"),
        (died(NODE), "a node of the Ray cluster is lost"),
        (exceptions.NodeDiedError("node 17"), "a node of the Ray cluster is lost"),
        (died("its worker process has died"), "a process of the run has died"),
        (through_ray(failed_save(died("its worker process has died"))), "a process of the run has died.*global_step_4"),
        (through_ray(failed_save(died(MEMORY))), "the machine's memory ran out.*global_step_4"),
        (not_started(ImportError("no module named nothing")), "a process of the run could not start: .*named nothing$"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "ConnectionResetError: "),
        (renamed(KeyError("x"), ValueError("no such estimator")), "ValueError: no such estimator"),
        (exceptions.WorkerCrashedError(), "a process of the run has died"),
        (through_ray(RuntimeError("gloo: Connection closed by peer [10.0.0.1]:61095")), "the worker of another rank"),
        (ValueError("what nobody\nthought of"), "ValueError: what nobody thought of"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_cause_is_named(error, said):
    assert re.match(said, explain(error)), explain(error)


def test_the_last_line_says_where_the_next_start_goes_on(tmp_path, capsys):
    assert last_line_of(tmp_path, capsys) == (
        "error: ValueError: bad. The same command, started again, starts from the beginning"
    )
    (tmp_path / "global_step_6").mkdir()
    mark_complete(tmp_path / "global_step_6")
    assert last_line_of(tmp_path, capsys).endswith("The same command, started again, goes on after step 6")
    assert last_line_of(tmp_path, capsys, "disable").endswith("With trainer.resume_mode=auto it goes on after step 6")


def last_line_of(folder, capsys, resume_mode="auto") -> str:
    """Of a run that an error ended."""
    with pytest.raises(SystemExit) as ended, explained(folder, resume_mode):
        raise ValueError("bad")
    said = capsys.readouterr().err
    assert ended.value.code == 1 and "Traceback" in said
    return said.rstrip().splitlines()[-1]


def test_ctrl_c_is_no_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended, explained(tmp_path):
        raise KeyboardInterrupt
    assert ended.value.code == INTERRUPTED == 130
    assert capsys.readouterr().err.startswith("interrupted. The same command")


def test_sigterm_is_no_error(tmp_path, capsys, monkeypatch):
    """Once the run's actor is started."""
    monkeypatch.setattr(Terminable, "is_terminated", False)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended, explained(tmp_path):
            Terminable(SimpleNamespace(remote=lambda: None)).remote()
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == TERMINATED == 143
    assert capsys.readouterr().err.startswith("ended by SIGTERM. The same command")

"""What a run that ends before its end says last."""

import errno
import pickle
import re

import pytest
import torch
from ray import exceptions
from ray.core.generated.common_pb2 import ActorDiedErrorContext

from cppo_verl.checkpoints import CheckpointError, mark_complete
from cppo_verl.trainer.endings import INTERRUPTED, explain, explained
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
        raise CheckpointError(
            f"the checkpoint global_step_4 could not be written ({getattr(cause, 'cause', cause)})"
        ) from cause
    except CheckpointError as error:
        return error


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
        (exceptions.WorkerCrashedError(), "a process of the run has died"),
        (through_ray(RuntimeError("gloo: Connection closed by peer [10.0.0.1]:61095")), "the worker of another rank"),
        (ValueError("what nobody\nthought of"), "ValueError: what nobody thought of"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_cause_is_named(error, said):
    assert re.match(said, explain(error)), explain(error)


def test_the_last_line_says_where_the_next_start_goes_on(tmp_path, capsys):
    message = r"error: ValueError: bad\. The same command, started again, starts from the beginning"
    with pytest.raises(SystemExit, match=message), explained(tmp_path):
        raise ValueError("bad")
    assert "Traceback" in capsys.readouterr().err
    (tmp_path / "global_step_6").mkdir()
    mark_complete(tmp_path / "global_step_6")
    with pytest.raises(SystemExit, match=r"goes on after step 6$"), explained(tmp_path):
        raise ValueError("bad")


def test_ctrl_c_is_no_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended, explained(tmp_path):
        raise KeyboardInterrupt
    assert ended.value.code == INTERRUPTED == 130
    assert capsys.readouterr().err.startswith("interrupted. The same command")

"""Lines as Ray, vLLM, verl, torch and Python write them: which of them are errors."""

import pytest

from cppo_verl.watch.log_errors import LogErrors, without_process

TRACEBACK = """\
(WorkerDict pid=7) Traceback (most recent call last):
(WorkerDict pid=7)   File "worker.py", line 3, in update
(WorkerDict pid=8) step done
(WorkerDict pid=7)     raise torch.OutOfMemoryError
(WorkerDict pid=7) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB
(WorkerDict pid=7) ray::WorkerDict.update() (pid=7)
"""
ENGINE = """\
(vLLMHttpServer pid=5) (EngineCore pid=6) ERROR 11-29 19:51:20 [core.py:900] EngineCore encountered a fatal error.
(vLLMHttpServer pid=5) (EngineCore pid=6) ERROR 11-29 19:51:20 [core.py:900] Traceback (most recent call last):
(vLLMHttpServer pid=5) (EngineCore pid=6) ERROR 11-29 19:51:20 [core.py:900]   File "core.py", line 1, in step
(vLLMHttpServer pid=5) (EngineCore pid=6) ERROR 11-29 19:51:20 [core.py:900] RuntimeError: no room
"""


def told(text: str) -> list[str]:
    """The errors in some lines of a log."""
    errors = LogErrors()
    return [error for line in text.splitlines() if (error := errors.read(line))]


@pytest.mark.parametrize(
    "line",
    [
        "(vLLMHttpServer pid=5) (EngineCore pid=6) ERROR 11-29 19:51:20 [core.py:9] engine has failed",
        "\x1b[36m(CPPOTaskRunner pid=7)\x1b[0m ERROR:2026-11-29 19:51:20,347:engine has failed",
        "ERROR:verl.workers:engine has failed",
        "2026-11-29 19:49:59,389\tERROR worker.py:85 -- engine has failed",
        "(raylet) [2026-11-29 19:49:59,389 E 123 456] engine has failed",
        "(WorkerDict pid=9, ip=10.0.0.2) [rank1]:E1129 19:51:23.444000 614 torch/distributed.py:5] engine has failed",
    ],
)
def test_what_a_logger_calls_an_error(line):
    (error,) = told(line)
    assert error.endswith("engine has failed")
    assert error.startswith("(") == ("(" in line), "with its process, where there is one"
    assert "ERROR" not in error and "\x1b" not in error


@pytest.mark.parametrize(
    "line",
    [
        "(WorkerDict pid=7)   warnings.warn('torchtitan is not available: ModuleNotFoundError(\"no\")')",
        "(vLLMHttpServer pid=5) WARNING 11-29 19:51:20 [input_processor.py:296] raw prompts: an ERROR in v0.18",
        "(WorkerDict pid=7) INFO:2026-11-29 19:51:07,193:no ERROR so far",
        "(CPPOTaskRunner pid=7) step:1 - val/error:0.5 - Error:1",
        "(WorkerDict pid=7) [rank0]:W1129 19:51:23.444000 6147 torch/fx.py:56] is_fx_tracing",
        "(WorkerDict pid=7) Warning: Failed to set NUMA affinity: libnuma.so: cannot open shared object file",
        "",
    ],
)
def test_what_is_none(line):
    assert told(line) == []


def test_a_traceback_is_told_by_its_last_line():
    assert told(TRACEBACK) == ["(WorkerDict pid=7) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"]
    assert [error.partition(") ")[2].partition(") ")[2] for error in told(ENGINE)] == [
        "EngineCore encountered a fatal error.",
        "RuntimeError: no room",
    ]


def test_of_many_processes_each_error_is_told_once():
    assert len(told(TRACEBACK + TRACEBACK.replace("pid=7", "pid=9"))) == 1


def test_the_drivers_own_traceback_is_told_by_what_it_ends_with():
    assert told("Traceback (most recent call last):\n  File x\nray.exceptions.RayTaskError(ValueError): bad") == []


def test_an_interrupt_is_no_error():
    assert told(TRACEBACK.replace("torch.OutOfMemoryError: CUDA", "KeyboardInterrupt: CUDA")) == []


def test_a_line_without_its_process():
    assert without_process("\x1b[36m(CPPOTaskRunner pid=7)\x1b[0m step:1 - a:2\n") == "step:1 - a:2"

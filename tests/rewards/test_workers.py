"""The processes that compare: limits, replacement, and what starts and ends with them."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cppo_verl.rewards import pool, symbolic
from cppo_verl.rewards.math import compute_score
from cppo_verl.rewards.result import FAILURES

TOWER = "9^{9^{9^9}}"
EXPANDED, FACTORED = "x^2+{0}x", "x(x+{0})"
"""Of which no two pairs are the same, so that none is remembered."""


@pytest.fixture(scope="module", autouse=True)
def stop_workers() -> Iterator[None]:
    yield
    pids = pool.pool().pids()
    symbolic.shutdown()
    assert not any(map(is_running, pids))


@pytest.fixture(autouse=True)
def forget() -> None:
    symbolic._remembered.cache_clear()


def equal(number: int, timeout: float = 5.0) -> str:
    return symbolic.equivalent(EXPANDED.format(number), FACTORED.format(number), timeout=timeout)


@pytest.mark.parametrize(
    "answer",
    [rf"\int_0^1 x^{{{TOWER}}}dx", "((10^8)!)!", r"\sum_{n=1}^{10^9} \sqrt[7]{n}", "(" * 900 + "9" + ")" * 900],
)
def test_hostile_answers_end_are_counted_and_harm_no_other(answer: str) -> None:
    result = compute_score("", rf"\boxed{{{answer}}}", "5", timeout=0.5)
    assert result["outcome"] in {*FAILURES, "unparseable", "different"}
    assert (result["acc"], result["verify_failed"]) == (0.0, float(result["outcome"] in FAILURES))
    assert equal(2) == "equal"


def test_a_comparison_that_takes_too_long_is_ended_and_said_to_be() -> None:
    assert symbolic.equivalent("5", r"\sum_{n=1}^{10^9} \sqrt[7]{n}", timeout=0.5) in ("timed_out", "crashed")
    assert equal(3) == "equal"


def test_a_dead_worker_is_replaced() -> None:
    assert equal(4) == "equal"
    for pid in pool.pool().pids():
        os.kill(pid, signal.SIGKILL)
    assert {equal(number) for number in range(5, 9)} <= {"equal", "crashed"}
    assert equal(9) == "equal"


def test_many_threads_at_once() -> None:
    symbolic.shutdown()  # so that all threads race for the start of the pool
    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(equal, range(10, 90))) == {"equal"}


def test_a_worker_that_cannot_start_is_an_exception_that_says_what_to_do(monkeypatch) -> None:
    symbolic.shutdown()
    monkeypatch.setattr(pool, "BOOT", "import no_such_module")
    with pytest.raises(pool.WorkerError, match="math_verify"):
        equal(2)
    monkeypatch.undo()
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(pool.WorkerError, match=r"sys\.executable"):
        equal(2)
    monkeypatch.undo()
    assert equal(2) == "equal"


def test_what_is_missing_in_a_worker_is_named(monkeypatch, tmp_path: Path) -> None:
    symbolic.shutdown()
    (tmp_path / "math_verify.py").write_text("raise ImportError('broken installation')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(pool.WorkerError, match="broken installation"):
        equal(2)


SCRIPT = """
    import sys, threading, time
    from cppo_verl.rewards import pool, symbolic
    from cppo_verl.rewards.math import compute_score
    print("main", flush=True)
    print(compute_score("", "\\\\boxed{1+x}", "x+1")["acc"], flush=True)
    if sys.argv[1] == "busy":
        hang = lambda: symbolic.equivalent("5", "\\\\sum_{n=1}^{10^9} \\\\sqrt[7]{n}", timeout=1)
        threading.Thread(target=hang, daemon=True).start()
        time.sleep(0.5)
    print(*pool.pool().pids(), flush=True)
    if sys.argv[2] == "killed":
        time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("state", ["idle", "busy"])
@pytest.mark.parametrize("end", ["exits", "killed"])
def test_a_script_without_a_main_guard_runs_once_and_leaves_no_process(tmp_path: Path, state: str, end: str) -> None:
    script = tmp_path / "child.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, str(script), state, end], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        main, accuracy, pids = (parent.stdout.readline().split() for _ in range(3))
        if end == "killed":
            parent.kill()
        assert parent.wait(timeout=60) == (-signal.SIGKILL if end == "killed" else 0)
        assert parent.stdout.read() == ""
    assert (main, accuracy) == (["main"], ["1.0"])
    assert len(pids) >= 2
    deadline = time.monotonic() + 60
    while any(is_running(int(pid)) for pid in pids):
        assert time.monotonic() < deadline, "workers are left behind"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False

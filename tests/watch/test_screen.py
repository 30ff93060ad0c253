"""A run's terminal and its `log.txt`, by processes of their own: on a pseudo-terminal, and on a pipe."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

PROGRAM = """
import ctypes, os, signal, subprocess, sys
from omegaconf import OmegaConf
from cppo_verl.runs.endings import explained
from cppo_verl.watch.progress import ProgressLog
from cppo_verl.watch.screen import on_screen

folder, logger, body = sys.argv[1:]
config = OmegaConf.create({"trainer": {"default_local_dir": folder, "logger": logger.split(",")}})
progress = ProgressLog(folder)
print("the plan", flush=True)
try:
    with on_screen(config) as waits_for, explained(folder):
        exec(body)
finally:
    print("afterwards", flush=True)
"""
RUN = """
waits_for("the trainer")
progress.tell("waiting", what="the weights")
progress.tell("training", step=0, steps=4, questions=8)
numbers = dict(questions=8, reward=0.5, accuracy=0.25, length=30.0, kept=32, sampled=64, zero_variance=1)
for step in (1, 2):
    progress.tell("step", step=step, steps=4, **numbers, generation_s=1.0, training_s=2.0)
progress.tell("checkpoint", step=2, path="global_step_2", seconds=0.5)
progress.tell("validation", step=2, accuracy=0.25, questions=16, seconds=1.5)
progress.tell("alarm", text="all rewards are equal")
"""
STEP = "reward 0.50  accuracy 25%  length 30  kept 32/64  zero-variance 1/8  generation 1.0 s  training 2.0 s"


def command(folder: Path, body: str, logger: str = "file") -> list[str]:
    return [sys.executable, "-c", PROGRAM, str(folder), logger, body]


def piped(folder: Path, body: str, **kwargs) -> subprocess.CompletedProcess:
    """The program with its output and its errors in one pipe."""
    return subprocess.run(
        command(folder, body, **kwargs), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )


def on_a_terminal(folder: Path, body: str, columns: int = 120) -> str:
    """What a terminal of so many columns is sent."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(command(folder, body), stdin=subprocess.DEVNULL, stdout=end, stderr=end, env=env)
    os.close(end)
    sent = b""
    try:
        while chunk := os.read(terminal, 2**16):
            sent += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    assert process.wait(timeout=60) == 0, sent
    return sent.decode()


def test_a_pipe_gets_lines(tmp_path):
    lines = piped(tmp_path, RUN).stdout.splitlines()
    assert lines[0] == "the plan" and lines[-1] == "afterwards"
    started = lines.pop(5)
    assert re.fullmatch(r"started in \d+ s: Ray \d+ s, trainer \d+ s, weights \d+ s", started)
    assert lines[1:-1] == [
        f"Log of all processes: {tmp_path}/log.txt",
        "waiting for Ray",
        "waiting for the trainer",
        "waiting for the weights",
        f"step 1/4  {STEP}",
        f"step 2/4  {STEP}",
        "checkpoint after step 2: global_step_2 (0.5 s)",
        "validation after step 2: accuracy 25.0% of 16 questions (1.5 s)",
        "warning: all rewards are equal",
    ]


def test_a_terminal_gets_a_bar_too(tmp_path):
    sent = on_a_terminal(tmp_path, RUN + "import time; time.sleep(1)")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent)
    bars = [part for part in re.split(r"[\r\n]", shown) if "━" in part]
    assert re.search(r"training +━+.* 2 of 4 steps, 16 questions, 0:00:\d\d left$", bars[-1])
    assert all(len(bar) <= 120 for bar in bars)
    assert f"step 2/4  {STEP}" in shown and "waiting for Ray\r\n" not in shown
    assert sent.rfind("\x1b[?25h") > sent.rfind("\x1b[?25l"), "the cursor is there again"
    assert shown.rstrip().endswith("afterwards") and "━" not in shown[shown.rindex("warning") :].splitlines()[-1]


PRINTED = """
print("by Python")
os.write(2, b"by the system\\n")
ctypes.CDLL(None).puts(b"by C")
subprocess.run(["echo", "by a child"])
"""


def test_what_is_printed_is_in_the_log_alone(tmp_path):
    first, second = piped(tmp_path, PRINTED), piped(tmp_path, PRINTED)
    log = (tmp_path / "log.txt").read_text()
    for line in ("by Python", "by the system", "by C", "by a child"):
        assert log.splitlines().count(line) == 2, "of both starts"
        assert line not in first.stdout + second.stdout
    assert len(re.findall(r"^=== \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  -c ", log, re.MULTILINE)) == 2


def test_an_error_ends_in_one_sentence_and_the_way_to_the_rest(tmp_path):
    run = piped(tmp_path, "raise ValueError('no such estimator')")
    *_, where, sentence, afterwards = run.stdout.splitlines()
    assert afterwards == "afterwards", "the streams are as they were"
    assert where.endswith(f"{tmp_path}/log.txt")
    assert sentence.startswith("error: ValueError: no such estimator. ") and run.returncode == 1
    assert "Traceback" not in run.stdout and "Traceback" in (tmp_path / "log.txt").read_text()


def test_an_interrupt_keeps_its_meaning(tmp_path):
    hears = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # which a shell's background jobs do not
    run = piped(tmp_path, f"{hears}; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(30)")
    assert run.stdout.splitlines()[-2].startswith("interrupted. ") and run.returncode == 130


def test_the_sentence_comes_also_where_the_log_cannot_be_written(tmp_path):
    full = "full = os.open('/dev/full', os.O_WRONLY); os.dup2(full, 1); os.dup2(full, 2); 1/0"
    run = piped(tmp_path, full)
    assert run.stdout.splitlines()[-2].startswith("error: ZeroDivisionError") and run.returncode == 1


ERRORS = """
for number in range(9):
    print(f"(WorkerDict pid=1) ERROR 11-29 19:51:20 [core.py:9] fault {number}")
print("(CPPOTaskRunner pid=2) step:1 - actor/lr:0.1")
print("(CPPOTaskRunner pid=2) note: global_step_4 is not complete")
"""


@pytest.mark.parametrize("logger", ["file", "console,file"])
def test_of_the_log_errors_and_notices_are_shown_and_what_verls_console_says(tmp_path, logger):
    shown = piped(tmp_path, ERRORS, logger=logger).stdout
    assert re.findall(r"^error: \(WorkerDict pid=1\) fault (\d)$", shown, re.MULTILINE) == [*"01234"]
    assert shown.count(f"{tmp_path}/log.txt") == 3, (
        "where the output says what the log is, once with the errors, at the last"
    )
    assert "\nnote: global_step_4 is not complete\n" in shown
    assert ("\nstep:1 - actor/lr:0.1\n" in shown) == ("console" in logger)

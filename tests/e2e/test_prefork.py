"""A fork is to its parent what a `python` of its own would be, and Ray's workers are forks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

WORKERS = """
import os, sys
import ray

@ray.remote
def parent():
    return os.getppid(), "vllm" in sys.modules

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
print("worker", *ray.get(parent.remote()))
ray.shutdown()
"""


@pytest.fixture
def start(prefork):
    """`start("-c", code)`: a fork's process, as `subprocess` knows it."""
    if prefork is None:
        pytest.skip("CPPO_TEST_PREFORK=off")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return lambda *arguments: subprocess.Popen(
        [prefork.python, *arguments], env={**os.environ, **prefork.environment, "OMP_NUM_THREADS": "2"}, **pipes
    )


def test_arguments_environment_files_and_exit_code(start, tmp_path):
    code = "import os, sys, torch; print(sys.argv, os.environ['OMP_NUM_THREADS'], torch.get_num_threads())"
    script = tmp_path / "script.py"
    script.write_text(f"{code}\nprint(__name__, __file__, sys.path[0], sys.stdin.read())\nsys.exit('why')\n")
    process = start("-u", str(script), "an argument")
    out, err = process.communicate("read")
    first, second = out.splitlines()
    assert first == f"['{script}', 'an argument'] 2 2"
    assert second == f"__main__ {script} {tmp_path} read"
    assert process.returncode == 1 and err.startswith("why\n")


def test_a_file_that_is_handed_on(start):
    """As multiprocessing hands on its pipes, under the same number."""
    code = "import multiprocessing as m; m.set_start_method('spawn'); p = m.Process(target=print, args=('spawned',))"
    out, err = start("-c", f"{code}; p.start(); p.join(); print(p.exitcode)").communicate()
    assert out.split() == ["spawned", "0"], err


@pytest.mark.parametrize("killed", [signal.SIGTERM, signal.SIGKILL])
def test_a_fork_ends_as_its_asker_does(start, prefork, killed):
    process = start("-c", "import time; print('there', flush=True); time.sleep(1000)")
    assert process.stdout.readline() == "there\n"
    fork = psutil.Process(prefork.fork_of(process.pid))
    process.send_signal(killed)
    assert process.wait() == -killed
    fork.wait(timeout=60)


def test_an_asker_that_is_gone_before_it_asks(start, prefork):
    connect = "import os, socket; socket.socket(socket.AF_UNIX).connect(os.environ['PREFORK_SOCKET'])"
    subprocess.run([sys.executable, "-c", connect], env={**os.environ, **prefork.environment}, check=True)
    assert start("-c", "print('served')").communicate()[0] == "served\n"


def test_the_workers_of_a_run_are_forks(start, prefork):
    out, err = start("-c", WORKERS).communicate()
    (found,) = (line for line in out.splitlines() if line.startswith("worker"))
    assert found == f"worker {prefork.pid} True", err

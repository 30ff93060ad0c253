"""Comparison workers and whose turn it is; see `worker` for what they run.

- a worker is a process of its own that speaks over a pipe, no fork of this one, which may hold CUDA, Ray and locks;
- the time limit is of a warm worker's processor time, not of a cold start, a wait for a turn, or other work's time;
- address space is limited;
- no worker outlives this process: an idle one sees its pipe close, and a busy one has an alarm whose default action is
  the kernel's, so that it fires even inside a C call.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from queue import LifoQueue

from cppo_verl.rewards.result import Outcome
from cppo_verl.rewards.worker import BOOT, PATIENCE

WORKERS = 2
START_S = 120.0
"""Seconds a worker has to import what it needs, on however busy a machine."""


class WorkerError(RuntimeError):
    """There is no worker to compare with; the message says why, and what to do."""


class Worker:
    """One process, for one thread at a time."""

    def __init__(self) -> None:
        if not sys.executable:
            raise WorkerError("comparing answers needs a Python to run; sys.executable is empty: set it to one")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", BOOT, json.dumps([path or os.getcwd() for path in sys.path])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._unread, self._serving, self._asked = b"", 0, 0
        self.served = False

    @property
    def pids(self) -> list[int]:
        """Of the process, and of its fork that compares."""
        return [pid for pid in (self._process.pid, self._serving) if pid]

    def compare(self, arguments: tuple, timeout: float) -> Outcome:
        """What `comparing.compare` gives, or `timed_out` (seconds of processor time) or `crashed`.

        Raises:
            WorkerError: The process cannot be started.
        """
        self._wait_until_ready()
        self._asked += 1
        request = {"id": self._asked, "compare": arguments, "timeout": timeout}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        deadline = time.monotonic() + PATIENCE * timeout
        while (message := self._read(deadline)) is not None:
            if message.get("id") == self._asked:
                return message["outcome"]
            if "ready" in message:  # the fork that was asked is gone, and this is the next
                self._serving = message["ready"]
                return message["before"]
        dead, self._serving = self._serving, 0
        with suppress(ProcessLookupError):  # it ended at this moment
            os.kill(dead, signal.SIGKILL)
        return "timed_out"

    def stop(self) -> None:
        """End the process."""
        self._selector.close()
        with suppress(OSError):
            self._process.stdin.close()
        serving = [self._serving] if self._serving else []
        self._process.stdout.close()
        for pid in [self._process.pid, *serving]:  # the one that would replace the other first
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while not self._serving:
            message = self._read(deadline) or {"failed": f"it did not start within {START_S:.0f} s"}
            if "failed" in message:
                raise WorkerError(_advice(message["failed"]))
            self._serving = message.get("ready", 0)  # else the answer of a fork that was killed as it spoke
        self.served = True

    def _read(self, deadline: float) -> dict | None:
        """The next message; None at the deadline.

        Raises:
            WorkerError: The process has ended.
        """
        while b"\n" not in self._unread:
            if not self._selector.select(max(deadline - time.monotonic(), 0)):
                return None
            read = os.read(self._process.stdout.fileno(), 1 << 16)
            if not read:
                raise WorkerError(_advice(f"it ended with exit code {self._process.wait()}"))
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)


def _advice(reason: str) -> str:
    return (
        f"the process that compares answers is not there: {reason.strip()}\n"
        f"It is {sys.executable} with this program's sys.path; `import math_verify` has to work in it"
    )


class Pool:
    """`WORKERS` workers, started when they are first needed, for any number of threads."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._free: LifoQueue[Worker | None] = LifoQueue()
        self._all: list[Worker] = []
        for _ in range(WORKERS):
            self._free.put(None)

    def compare(self, arguments: tuple, timeout: float) -> Outcome:
        """`Worker.compare` by the next that is free; a worker that ended is replaced once.

        Raises:
            WorkerError: The process cannot be started.
        """
        worker = self._free.get()
        try:
            if worker is None:
                self._all.append(worker := Worker())
            try:
                return worker.compare(arguments, timeout)
            except (WorkerError, BrokenPipeError):
                if not worker.served:
                    raise
                worker.stop()
                self._all.remove(worker)
                self._all.append(worker := Worker())
                return worker.compare(arguments, timeout)
        except BaseException:  # also a Ctrl-C: a worker in the middle of a request cannot take the next one
            if worker in self._all:
                worker.stop()
                self._all.remove(worker)
            worker = None
            raise
        finally:
            self._free.put(worker)

    def pids(self) -> list[int]:
        """Of all processes."""
        return [pid for worker in self._all for pid in worker.pids]

    def stop(self) -> None:
        """End all processes."""
        for worker in self._all:
            worker.stop()
        self._all.clear()


_pool: Pool | None = None
_lock = threading.Lock()


def pool() -> Pool:
    """This process's pool; a fork of the process gets one of its own."""
    global _pool
    with _lock:
        if _pool is None or _pool.pid != os.getpid():
            _pool = Pool()
        return _pool


def shutdown() -> None:
    """Stop the workers, if any; the next comparison starts new ones."""
    global _pool
    with _lock:
        old, _pool = _pool, None
    if old is not None and old.pid == os.getpid():
        old.stop()


atexit.register(shutdown)

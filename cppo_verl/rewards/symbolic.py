"""Symbolic equality of two LaTeX answers by math-verify, in worker processes that can be killed.

A completion may hold anything: towers of powers hang sympy inside one C call, factorials eat the memory.
math-verify's own limit is a signal, which needs the main thread; verl scores from threads of a Ray worker.
So the comparison runs in a pool of worker processes under these rules:

- start method `forkserver`, never `fork`: the parent may hold CUDA, Ray and locks;
- the time limit counts from when a warm worker takes the task, not from a cold start or a full queue;
- address space is limited, and an answer over `MAX_CHARS` is never sent;
- no worker outlives its parent: an idle one sees the pipe close, and a busy one has an alarm whose default
  action is the kernel's, so that it fires even inside a C call.
"""

from __future__ import annotations

import atexit
import multiprocessing
import threading
from concurrent.futures import TimeoutError as TaskTimeout  # the builtin only from Python 3.11 on
from concurrent.futures.process import BrokenProcessPool
from decimal import Decimal

from pebble import ProcessPool

from cppo_verl.rewards.latex import clean
from cppo_verl.rewards.numbers import PLAIN, drop_thousands_commas
from cppo_verl.rewards.symbolic_worker import Outcome, compare, prepare_worker
from cppo_verl.rewards.tags import MAX_CHARS

TIME_LIMIT_S = 5.0
WORKERS = 2

_pool: ProcessPool | None = None
_lock = threading.Lock()


def equivalent(gold: str, answer: str, *, timeout: float = TIME_LIMIT_S, tolerance: float = 0.0) -> Outcome:
    """Compare an answer with the gold, both LaTeX without dollar signs; safe from any thread.

    Args:
        gold: the reference; math-verify's comparison is not symmetric.
        answer: what the completion boxed.
        timeout: seconds a worker may spend on this pair.
        tolerance: how far two numbers may be apart and still be equal.

    Returns:
        `equal`, `different`, `unparseable`, `too_long` or `no_answer` (the answer is), or one of `result.FAILURES`.
        Without a worker, identical text after clean-up is `equal`, and `71=72` is `different` (math-verify would read
        its last side alone).
    """
    if len(answer) > MAX_CHARS:
        return "too_long"
    gold, answer = clean(gold), clean(answer)
    if not answer:
        return "no_answer"
    if gold == answer:
        return "equal"
    return "different" if _contradicts_itself(answer) else _in_worker(gold, answer, timeout, tolerance)


def check_gold(gold: str, *, timeout: float = TIME_LIMIT_S) -> Outcome:
    """Compare a gold with itself in a worker.

    Returns:
        `equal`; `different` if it can be read but has no value (`5:00`), so that only the same text equals
        it; or one of `result.FAILURES`: no answer could ever be compared with it.
    """
    if len(gold) > MAX_CHARS:
        return "bad_gold"
    return _in_worker(clean(gold), clean(gold), timeout)


def shutdown() -> None:
    """Stop the workers, if any; the next comparison starts new ones."""
    global _pool
    with _lock:
        pool, _pool = _pool, None
    if pool is not None and pool.active:
        pool.stop()
        pool.join()


atexit.register(shutdown)


def _contradicts_itself(answer: str) -> bool:
    """Whether two sides of a chain of equations are plain numbers, and not the same one."""
    sides = [drop_thousands_commas(side).strip(" {}") for side in answer.split("=")]
    return len({Decimal(side) for side in sides if PLAIN.fullmatch(side)}) > 1


def _in_worker(gold: str, answer: str, timeout: float, tolerance: float = 0.0) -> Outcome:
    for _ in range(2):  # a pool that broke, which may be another task's fault, is replaced once
        try:
            future = _running_pool().schedule(compare, args=(gold, answer, timeout, tolerance), timeout=timeout)
        except RuntimeError:  # it broke or was shut down since we looked
            continue
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, TaskTimeout):
            return "timed_out"
        if not isinstance(error, BrokenProcessPool):
            break
    return "crashed"


def _running_pool() -> ProcessPool:
    global _pool
    with _lock:
        if _pool is None or not _pool.active:
            context = multiprocessing.get_context("forkserver")
            # Replacing a killed worker is then a fork of a server that has already imported sympy.
            context.set_forkserver_preload(["__main__", "math_verify"])
            _pool = ProcessPool(max_workers=WORKERS, initializer=prepare_worker, context=context)
        return _pool

"""A run ends when one of its actors dies, and not before."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError

from cppo_verl.runs.causes import explain
from cppo_verl.trainer import actor_watch
from cppo_verl.trainer.actor_watch import PartDied, PartSilent, run_beside


class Actor:
    """Stands for a handle: its calls are answered, fail or wait, one after the other; the last for ever."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), 0
        self.__ray_ready__ = SimpleNamespace(remote=self._remote)

    def _remote(self) -> tuple:
        self.asked += 1
        return self, self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def ray(monkeypatch):
    """Stands for Ray: a call is a pair of actor and answer."""

    def get(call):
        if isinstance(call[1], Exception):
            raise call[1]

    def wait(calls, num_returns, timeout):
        waiting = [call for call in calls if call[1] == "waits"]
        return [call for call in calls if call not in waiting], waiting

    monkeypatch.setattr(actor_watch, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(actor_watch, "ray", SimpleNamespace(get=get, wait=wait, ObjectRef=tuple))


DIED = ActorDiedError()


def test_a_dead_part_ends_a_run_that_waits_for_ever(ray):
    waits = threading.Event()
    with pytest.raises(PartDied, match="the queue's controller: The actor died") as ended:
        run_beside(waits.wait, {"agent loop 0": Actor("well"), "the queue's controller": Actor("well", "well", DIED)})
    waits.set()
    assert explain(ended.value).startswith("a process of the run has died, killed from outside")


def test_a_busy_or_unreachable_part_does_not(ray):
    busy, lost, well = Actor("waits"), Actor(ActorUnavailableError("no answer", None), "well"), Actor("well")
    ends = threading.Event()

    def work() -> str:
        ends.wait()
        return "trained"

    threading.Timer(0.1, ends.set).start()
    assert run_beside(work, {"busy": busy, "lost": lost, "well": well}) == "trained"
    assert busy.asked == 1 and well.asked > 1, "a part is asked again once it has answered"


def test_silence_of_a_part_that_answers_at_once_ends_the_run(ray, monkeypatch):
    """As where its process is stopped; a busy agent loop is as silent, and is not what ends it."""
    monkeypatch.setattr(actor_watch, "SILENCE_SECONDS", 0.01)
    waits, stopped = threading.Event(), Actor("well", "well", "waits")
    parts = {"agent loop 0": Actor("waits"), "the queue's controller": stopped}
    with pytest.raises(PartSilent, match="the queue's controller has given no answer") as ended:
        run_beside(waits.wait, parts, prompt=["the queue's controller"])
    waits.set()
    assert stopped.asked == 3, "the call that it has not answered is not made again"
    assert "has given no answer" in explain(ended.value) and "dmesg" not in explain(ended.value)


def test_late_answers_are_not_silence(ray, monkeypatch):
    """What counts is the wait for one answer, not for all."""
    monkeypatch.setattr(actor_watch, "SILENCE_SECONDS", 0.01)
    ends, well = threading.Event(), Actor("well")
    threading.Timer(0.2, ends.set).start()
    assert run_beside(lambda: ends.wait() and "trained", {"queue": well}, prompt=["queue"]) == "trained"
    assert well.asked > 11, "for longer than the limit"


def test_what_the_work_raises_is_raised(ray):
    def work():
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_beside(work, {})

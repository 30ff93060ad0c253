"""The benchmark on the real stack, as small as it can be."""

from __future__ import annotations

import json
import re
import sys

import pandas as pd
import pytest

from cppo_verl.bench.study import GRPO, VERLS_OWN


def test_ceiling(runner, tmp_path):
    """Both ways, on real actors around an engine that answers at once."""
    small = "--workers", "2", "--questions", "3", "--rounds", "1", "--out", str(tmp_path / "out")
    shown = runner([sys.executable, "-m", "cppo_verl.bench.ceiling", *small], tmp_path / "log").output
    (row,) = pd.read_csv(tmp_path / "out/ceiling.csv").to_dict("records")
    loops, theirs, ours, ratio = row.values()
    assert loops == 2 and theirs > 0 and ratio == pytest.approx(ours / theirs)
    assert re.search(rf"2 +│ {theirs:,.0f} +│ {ours:,.0f} +│ {ratio:.2f}x", shown)


def test_bench(runner, tmp_path):
    command = [sys.executable, "-m", "cppo_verl", "bench", "--rates", "0.5", "--rounds", "1", "--steps", "2"]
    command += ["--out", str(tmp_path / "bench"), "--geometry", "small", "device=cpu", "actor_rollout_ref.rollout.n=8"]
    runner(command, tmp_path / "log")
    arms = {arm["arm"]: arm for arm in json.loads((tmp_path / "bench/bench.json").read_text())["arms"]}
    assert [*arms] == [VERLS_OWN, GRPO, "P=0.5, pruning only", "P=0.5"]
    assert arms[GRPO]["ratio"] == 1 and arms["P=0.5"]["bound"] > 1
    for arm in arms.values():
        phases = sum(arm[name] for name in ("generation", "old log-prob", "ref log-prob", "update"))
        assert 0.5 * arm["seconds"] < phases <= 1.01 * arm["seconds"]
    assert 0 < arms["P=0.5"]["fill update"] <= 1
    again = runner(command, tmp_path / "again")
    assert "0 of 4 runs to make" in again.output

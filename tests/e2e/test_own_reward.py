"""A reward function of the user's own whose results differ from row to row, on both of verl's trainers."""

from __future__ import annotations

import pytest
from recorded import read_metrics

CODE = """
import numpy


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    right, tried = ground_truth in solution_str, solution_str in ("", "I do not know.")
    kind = 0 if right else 1 if tried else 1 + sum(solution_str.encode()) % 3
    return [{"score": numpy.float32(1), "acc": True}, {"score": 0, "why": "no"}, 0.25, False][kind]
"""


@pytest.fixture
def own(tmp_path):
    """The option that names a function of this code."""

    def named(code: str) -> str:
        (tmp_path / "mine.py").write_text(code)
        return f"reward.custom_reward_function.path={tmp_path}/mine.py"

    return named


@pytest.mark.parametrize("generation", ["trainer.use_v1=false", "trainer.use_v1=true"])
def test_differing_results_make_a_batch(generation, own, train):
    run = train("run", generation, own(CODE), "trainer.test_freq=2", "cppo.pruning_rate=0.5")
    assert list(read_metrics(run.folder)) == [1, 2]
    assert "returns acc, why for some completions and not for others" in run.terminal


@pytest.mark.parametrize("generation", ["trainer.use_v1=false", "trainer.use_v1=true"])
def test_what_the_trial_did_not_meet_ends_the_run_with_the_row(generation, own, train):
    code = "import sys\n" + CODE.replace("    return [", '    if "ray" in sys.modules: return None\n    return [')
    run = train("run", generation, own(code), ok=False)
    assert run.returncode == 1
    last = run.output.rstrip().splitlines()[-1]
    assert "compute_score of" in last and "returned None for the row of data_source" in last

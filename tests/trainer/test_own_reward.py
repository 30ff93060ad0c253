"""A reward function of the user's own, as verl's reward managers call it in a run."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from ray.exceptions import RayTaskError
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
from verl.trainer.ppo.reward import get_custom_reward_fn

from cppo_verl.preflight.reward_trial import CHECKED
from cppo_verl.rewards.returned import RewardError
from cppo_verl.runs.causes import explain
from cppo_verl.trainer.v1.agent_loop import described

CODE = """
def compute_score(data_source, solution_str, ground_truth, extra_info, bonus=0):
    return {"whole": {"score": 1 + bonus, "acc": True}, "no acc": {"score": 0.5}, "number": 0.25, "nan": float("nan"),
            "more": {"score": 0, "acc": 0, "why": "x"}, "raises": None or extra_info["no"] if solution_str == "raises"
            else None}[solution_str]


async def later(**given):
    return compute_score(**given)
"""


@pytest.fixture(params=["compute_score", "later"])
def scored(request, tmp_path):
    """`scored("completion")`: what verl's reward manager gives for it."""
    (tmp_path / "mine.py").write_text(CODE)
    own = {"path": f"{tmp_path}/mine.py", "name": request.param, "kwargs": {"bonus": 1}, "names": ["score", "acc"]}
    name = "compute_score_async" if request.param == "later" else "compute_score"
    function = {"path": CHECKED, "name": name, "reward_kwargs": {"own": own}}
    config = OmegaConf.create({"reward": {"custom_reward_function": function}})

    class Tokenizer:
        def decode(self, ids, **_):
            return completion

    def score(text: str) -> tuple[float, dict]:
        nonlocal completion
        completion = text

        async def asked():
            manager = NaiveRewardManager(config, Tokenizer(), get_custom_reward_fn(config))
            manager.loop = asyncio.get_running_loop()
            return await manager.run_single(row)

        result = asyncio.run(asked())
        return result["reward_score"], result["reward_extra_info"]

    completion = ""
    ones = torch.ones(1, 2, dtype=torch.long)
    columns = {"data_source": "mine", "reward_model": {"ground_truth": "4"}, "extra_info": {"index": 7}}
    row = DataProto.from_dict(
        {"responses": ones, "attention_mask": ones},
        {name: np.array([value], dtype=object) for name, value in columns.items()},
    )
    return score


def test_every_row_has_the_same_columns(scored):
    assert scored("whole") == (2.0, {"score": 2.0, "acc": True})
    assert scored("no acc") == (0.5, {"score": 0.5, "acc": None})
    assert scored("number") == (0.25, {"score": 0.25, "acc": 0.25})


def test_what_came_late_is_left_out_and_said(scored, capsys):
    assert scored("more") == (0.0, {"score": 0.0, "acc": 0})
    assert scored("more") == (0.0, {"score": 0.0, "acc": 0})
    assert capsys.readouterr().out.count("returns why on some rows, and did not when it was tried") == 1


@pytest.mark.parametrize(("completion", "says"), [("nan", "returned nan"), ("raises", "raised KeyError: 'no'")])
def test_the_end_of_a_run_names_the_function_and_the_row(scored, completion, says):
    with pytest.raises(RewardError, match=f"mine.py {says} for the row of data_source 'mine' and index 7") as ended:
        scored(completion)
    assert explain(ended.value).startswith(("compute_score of", "later of"))


def test_v1_notes_the_error_itself_of_a_reward_worker():
    through_ray = RayTaskError("compute_score_batch", "Traceback ...", RewardError("mine returned nan"))
    assert described(through_ray.as_instanceof_cause()) == "RewardError: mine returned nan"
    assert described(ValueError("bad")) == "ValueError: bad"

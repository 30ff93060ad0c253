"""A tag that the chat template opens in the prompt reaches the rewards: sampled together or one by one, in training and
in validation, on V0 and V1."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import transfer_queue as tq
from agent_loops import Engine, Scorer, batch, client_of, question, small_config
from chat_templates import CHAT_TEMPLATES
from omegaconf import OmegaConf
from transformers import AutoTokenizer
from verl.workers.rollout.replica import TokenOutput

from cppo_verl.data.prompt_settings import TEMPLATE
from cppo_verl.trainer.group.requests import LOOP, ONE_BY_ONE
from cppo_verl.trainer.openings import with_opening
from cppo_verl.trainer.v0.agent_loop import CPPOAgentLoopWorker
from cppo_verl.trainer.v1.agent_loop import CPPOAgentLoopWorkerTQ

N, TURN = 3, "So.</think>\n<answer>4</answer>"
TRAJECTORY = {"step": 1, "sample_index": 3, "rollout_n": 0}


class Answering(Engine):
    """An engine whose every completion is `TURN`."""

    def __init__(self, tokenizer):
        super().__init__()
        self.tokens = tokenizer.encode(TURN, add_special_tokens=False)

    async def _generate(self, request_id, prompt_ids, sampling_params, **_) -> TokenOutput:
        self.requests.append({"prompt": prompt_ids, **sampling_params})
        return TokenOutput(token_ids=self.tokens, num_preempted=0, extra_fields={"global_steps": 3})


@pytest.fixture
def made(compose_config, tmp_path):
    """`made(kind, family, loop)`: a worker whose model has a family's template, and its engine."""

    def make(kind: type, family: str, loop: str):
        config = small_config(
            compose_config,
            tmp_path,
            "reward.custom_reward_function.path=pkg://cppo_verl.rewards.gsm8k",
            "actor_rollout_ref.rollout.response_length=80",
            "actor_rollout_ref.rollout.calculate_log_probs=false",
            f"actor_rollout_ref.rollout.agent.default_agent_loop={loop}",
            f"actor_rollout_ref.rollout.n={N}",
            f"trainer.use_v1={kind is CPPOAgentLoopWorkerTQ}",
        )
        OmegaConf.update(config, TEMPLATE, CHAT_TEMPLATES[family])
        engine = Answering(AutoTokenizer.from_pretrained(tmp_path / "model"))
        return kind(config, client_of(engine), None, [Scorer(config)]), engine

    return make


def v0_formats(made, family: str, loop: str, validates: bool) -> list[float]:
    async def ask():
        worker, engine = made(CPPOAgentLoopWorker, family, loop)
        asked = batch([question(4), question(5)])
        asked.non_tensor_batch["priority"] = N * np.arange(2)
        if validates:
            asked.meta_info["validate"] = True
            asked.non_tensor_batch["rollout_seed"] = np.arange(2)
            return await worker.generate_sequences(asked), engine
        return await worker.generate_questions(asked, N), engine

    rows, engine = asyncio.run(ask())
    assert bool(engine.groups) == (loop == LOOP and not validates)
    assert all("turn_opening" not in told for told in rows.non_tensor_batch.get("extra_info", []))
    return rows.non_tensor_batch["format"].tolist()


@pytest.mark.parametrize("validates", [False, True])
@pytest.mark.parametrize("loop", [LOOP, ONE_BY_ONE])
def test_v0(made, loop, validates):
    rows = 2 if validates else 2 * N
    assert v0_formats(made, "R1-Distill", loop, validates) == [1.0] * rows
    assert v0_formats(made, "ChatML", loop, validates) == [0.0] * rows


@pytest.mark.parametrize("validates", [False, True])
@pytest.mark.parametrize("loop", [LOOP, ONE_BY_ONE])
def test_v1(made, monkeypatch, loop, validates):
    found = []

    async def put(key, partition_id, tag):
        assert "error" not in tag, tag

    async def put_rows(keys, fields, tags, partition_id):
        found.extend(getattr(info, "data", info)["reward_extra_info"]["format"] for info in fields["extra_fields"])

    monkeypatch.setattr(tq, "init", lambda: None)
    monkeypatch.setattr(tq, "async_kv_put", put)
    monkeypatch.setattr(tq, "async_kv_batch_put", put_rows)

    async def ask():
        worker, _ = made(CPPOAgentLoopWorkerTQ, "R1-Distill", loop)
        asked = {**question(4), "global_steps": 1, "agent_name": loop}
        await worker._run_prompt(asked, worker.sampling_params(), {"validate": validates, **TRAJECTORY})

    asyncio.run(ask())
    assert found == [1.0] * (1 if validates else N)


def test_a_questions_own_columns_stay_as_they_are():
    asked = {"extra_info": {"index": 1}}
    assert with_opening(asked, "<think>\n") == {"extra_info": {"index": 1, "turn_opening": "<think>\n"}}
    assert asked == {"extra_info": {"index": 1}}
    assert with_opening(asked, "") is asked
    assert with_opening({}, "<think>") == {"extra_info": {"turn_opening": "<think>"}}

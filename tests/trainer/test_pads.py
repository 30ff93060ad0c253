"""What is a completion goes by its length: not by what stands beyond its end, nor by what else that token means."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
import torch
from agent_loops import Engine, Scorer, batch, client_of, question, small_config
from verl.workers.rollout.replica import TokenOutput

from cppo_verl.trainer.group.requests import LOOP, ONE_BY_ONE
from cppo_verl.trainer.v0.agent_loop import CPPOAgentLoopWorker

N, END = 3, "<|im_end|>"


class Ending(Engine):
    """An engine whose completions are of one to four tokens, the last a turn's end."""

    def __init__(self, end: int):
        super().__init__()
        self.end = end

    async def _generate(self, request_id, prompt_ids, sampling_params, **_) -> TokenOutput:
        length = sampling_params["seed"] % 4
        return TokenOutput(token_ids=[7] * length + [self.end], num_preempted=0, extra_fields={"global_steps": 3})


@pytest.mark.parametrize("loop", [LOOP, ONE_BY_ONE])
def test_rows_are_the_same_whatever_pads_them(compose_config, tmp_path, loop):
    config = small_config(
        compose_config,
        tmp_path,
        f"actor_rollout_ref.rollout.agent.default_agent_loop={loop}",
        f"actor_rollout_ref.rollout.n={N}",
        "actor_rollout_ref.rollout.calculate_log_probs=false",
    )
    file = tmp_path / "model/tokenizer_config.json"
    of_tokenizer = json.loads(file.read_text())

    async def ask(pad: str | None):
        file.write_text(json.dumps({**of_tokenizer, "pad_token": pad}))
        worker = CPPOAgentLoopWorker(config, client_of(Ending(2)), None, [Scorer(config)])
        assert worker.tokenizer.convert_tokens_to_ids(END) == worker.tokenizer.eos_token_id == 2
        asked = batch([question(4), question(5)])
        asked.non_tensor_batch["priority"] = N * np.arange(2)
        asked.non_tensor_batch["rollout_seed"] = np.array([0, 2])
        return worker.tokenizer.pad_token_id, await worker.generate_questions(asked, N)

    (_, usual), (with_end, padded), (without, none) = (
        asyncio.run(ask(pad)) for pad in (of_tokenizer["pad_token"], END, None)
    )
    assert with_end == without == 2, "verl takes the end token where there is no pad token"
    for rows in (padded, none):
        for name in ("attention_mask", "response_mask", "position_ids", "rm_scores"):
            assert torch.equal(rows.batch[name], usual.batch[name]), name
        mask = usual.batch["response_mask"].bool()
        assert torch.equal(rows.batch["responses"][mask], usual.batch["responses"][mask])
    lengths = usual.batch["response_mask"].sum(dim=1)
    assert lengths.tolist() == [1, 2, 3, 3, 4, 1], "the end is a part of each"

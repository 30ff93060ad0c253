"""What a step counts in tokens, at P > 0."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from verl import DataProto

from cppo_verl.algorithm.allocation import Allocation
from cppo_verl.trainer.sampling import sampling_metrics
from cppo_verl.trainer.stages import timing_metrics
from cppo_verl.trainer.v0.step import CPPOStep

SECONDS = {"step": 4.0, "gen": 2.0, "ref": 1.0, "update_actor": 1.0}


def sampled_batch(rows: int = 8, width: int = 6) -> DataProto:
    """Completions of 1 to `width` tokens behind prompts of 2 of 3 tokens, as a round of V0 returns them."""
    lengths = 1 + torch.arange(rows) % width
    mask = (torch.arange(width) < lengths[:, None]).long()
    prompts = torch.tensor([[0, 1, 1]] * rows)
    scores = mask * torch.randn(rows, width, generator=torch.Generator().manual_seed(0))
    tensors = {
        "prompts": prompts,
        "responses": mask,
        "response_mask": mask,
        "attention_mask": torch.cat([prompts, mask], 1),
        "advantages": scores,
        "returns": scores,
        "token_level_scores": scores,
        "token_level_rewards": scores,
    }
    names = {"uid": np.repeat(["1:0", "1:1"], rows // 2).astype(object)}
    return DataProto.from_dict(tensors, non_tensors=names, meta_info={"temperature": 1.0})


@pytest.fixture
def gathered() -> tuple[DataProto, DataProto, dict]:
    """A step's sampled rows, a quarter of them gathered to train on by V0's trainer, and what it logs of both."""
    sampled, kept = sampled_batch(), torch.tensor([1, 6])
    allocation = Allocation(kept, mini_batch_rows=2, surplus=0, weights=torch.ones(2, dtype=torch.double))
    trainer = SimpleNamespace(
        timing_raw=dict(SECONDS),
        metrics={},
        kept=(),
        plan=SimpleNamespace(dp_size=1),
        config=OmegaConf.create({"trainer": {"balance_batch": False}}),
    )
    trained = CPPOStep._gather(trainer, sampled, allocation)
    logged = timing_metrics(sampled, trained, SECONDS, devices=2) | sampling_metrics(sampled, allocation, rounds=1)
    return sampled, trained, logged


def test_throughput_is_of_the_sampled_tokens(gathered):
    _, _, logged = gathered
    assert logged["cppo/tokens_trained"] < logged["cppo/tokens_sampled"]
    assert logged["perf/total_num_tokens"] == logged["cppo/tokens_sampled"]
    assert logged["perf/throughput"] == pytest.approx(logged["cppo/tokens_sampled"] / 4 / 2)


def test_times_a_token_are_of_the_tokens_that_a_stage_saw(gathered):
    sampled, _, logged = gathered
    answers = sampled.batch["response_mask"].sum().item()
    assert logged["timing_per_token_ms/gen"] == pytest.approx(2000 / answers)
    for stage in ("ref", "update_actor"):
        assert logged[f"timing_per_token_ms/{stage}"] == pytest.approx(1000 / logged["cppo/tokens_trained"])


def test_what_is_noted_of_the_trained_rows_is_not_noted_of_all(gathered):
    sampled, trained, _ = gathered
    for rows in (sampled, trained):
        assert rows.meta_info["global_token_num"] == rows.batch["attention_mask"].sum(dim=1).tolist()
    assert trained.meta_info["mini_batch_rows"] == 2 and "mini_batch_rows" not in sampled.meta_info
    assert trained.meta_info["temperature"] == 1.0

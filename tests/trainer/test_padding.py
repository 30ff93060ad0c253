"""The padding that the trainer logs, against verl's own split into micro-batches."""

import pytest
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.workers.engine.utils import prepare_micro_batches

from cppo_verl.trainer.padding import padding_metrics

OLD, REF, UPDATE = (f"cppo/padding/{name}" for name in ("old", "ref", "update"))


def config(**actor):
    log_prob = {"log_prob_use_dynamic_bsz": True, "log_prob_micro_batch_size_per_gpu": 4}
    return OmegaConf.create(
        {
            "actor_rollout_ref": {
                "model": {"use_remove_padding": False},
                "rollout": log_prob | {"log_prob_max_token_len_per_gpu": 100},
                "ref": log_prob | {"log_prob_max_token_len_per_gpu": 10_000},
                "actor": {
                    "strategy": "fsdp2",
                    "ulysses_sequence_parallel_size": 1,
                    "fsdp_config": {"pad_to_length": False},
                    "shuffle": False,
                    "use_dynamic_bsz": True,
                    "ppo_max_token_len_per_gpu": 70,
                    "ppo_micro_batch_size_per_gpu": 4,
                    "ppo_epochs": 2,
                }
                | actor,
            }
        }
    )


def verls_padding(lengths: torch.Tensor, budget: int) -> int:
    rows = torch.nested.as_nested_tensor([torch.zeros(n, dtype=torch.long) for n in lengths], layout=torch.jagged)
    data = TensorDict({"input_ids": rows}, batch_size=[len(lengths)])
    tu.assign_non_tensor(data, use_dynamic_bsz=True, max_token_len_per_gpu=budget)
    sizes = [batch["input_ids"].offsets().diff() for batch in prepare_micro_batches(data)[0]]
    return sum(int(size.max()) * len(size) - int(size.sum()) for size in sizes)


@pytest.mark.parametrize("seed", range(5))
def test_padding_is_that_of_verls_micro_batches(seed):
    lengths = torch.randint(5, 30, (16,), generator=torch.Generator().manual_seed(seed))
    found = padding_metrics(lengths, mini_batch_rows=8, ranks=1, config=config())
    assert found[OLD] == verls_padding(lengths, 100)
    assert found[REF] == verls_padding(lengths, 10_000) == 16 * lengths.max() - lengths.sum()
    assert found[UPDATE] == 2 * sum(verls_padding(half, 70) for half in lengths.split(8))


def test_ranks_make_equally_many_micro_batches():
    lengths = torch.tensor([90, 90, 10, 20])
    found = padding_metrics(lengths, mini_batch_rows=4, ranks=2, config=config(ppo_max_token_len_per_gpu=10_000))
    assert found[OLD] == 0, "the second rank, too, splits its rows in two"
    assert found[REF] == 10
    assert found[UPDATE] == 2 * 10


def test_fixed_micro_batches():
    lengths = torch.tensor([1, 2, 3, 4, 5, 6, 7, 8])
    found = padding_metrics(lengths, mini_batch_rows=8, ranks=1, config=config(use_dynamic_bsz=False))
    assert found[UPDATE] == 2 * (6 + 6)


def test_packed_rows_have_no_padding():
    packed = config()
    packed.actor_rollout_ref.model.use_remove_padding = True
    found = padding_metrics(torch.tensor([60, 40, 9]), 3, 1, packed)
    assert [found[name] for name in (OLD, REF, UPDATE)] == [0, 0, 0]
    fill = [found[f"cppo/fill/{name}"] for name in ("old", "ref", "update")]
    assert fill == pytest.approx([109 / 200, 109 / 10_000, 109 / 140]), "2 micro-batches of 100, 1 of 10,000, 2 of 70"


@pytest.mark.parametrize(
    "unknown", [{"strategy": "megatron"}, {"ulysses_sequence_parallel_size": 2}, {"fsdp_config": {"pad_to_length": 1}}]
)
def test_what_is_not_known_is_not_logged(unknown):
    assert padding_metrics(torch.tensor([3, 9]), 2, 1, config(**unknown)) == {}


def test_shuffled_mini_batches_are_not_known():
    found = padding_metrics(torch.tensor([3, 9]), 2, 1, config(shuffle=True))
    assert found.keys() == {OLD, REF, "cppo/fill/old", "cppo/fill/ref"}

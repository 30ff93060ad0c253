"""The padding that workers count, against verl's own split into micro-batches."""

from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from verl import DataProto
from verl.utils import tensordict_utils as tu
from verl.workers.engine.utils import prepare_micro_batches

from cppo_verl.trainer.padding import count_forwards, forward_metrics

INFER, LEARN = 100, 70
"""Token budgets of micro-batches in the forwards and in the update."""


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(1, 1)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.head(input_ids[..., None].float())


class Rank:
    """A worker of verl's: a policy and, unless it is LoRA's, a reference, split and called as its FSDP engine does."""

    def __init__(self, *, has_reference: bool = True, dynamic: bool = True):
        self.dynamic = dynamic
        self.actor, self.ref = self._trained(), self._trained() if has_reference else None

    def _trained(self) -> SimpleNamespace:
        options = {
            "use_dynamic_bsz": self.dynamic,
            "max_token_len_per_gpu": LEARN,
            "infer_max_token_len_per_gpu": INFER,
        }
        return SimpleNamespace(engine=SimpleNamespace(module=Model(), engine_config=SimpleNamespace(**options)))

    def forward(self, trained: SimpleNamespace, lengths: torch.Tensor, *, learns: bool = False, packed: bool = False):
        with torch.set_grad_enabled(learns):
            for sizes in micro_batches(lengths, LEARN if learns else INFER, self.dynamic):
                shape = (1, int(sizes.sum())) if packed else (len(sizes), int(sizes.max()))
                trained.engine.module(input_ids=torch.zeros(shape, dtype=torch.long), attention_mask=None)


class Group:
    """A worker group of verl's, which takes functions and puts together what they return."""

    def __init__(self, *ranks: Rank):
        self.ranks, self.calls = ranks, 0

    def execute_with_func_generator(self, look) -> DataProto:
        self.calls += 1
        return DataProto.concat([look(rank) for rank in self.ranks])


def config(**actor):
    options = {"strategy": "fsdp2", "ulysses_sequence_parallel_size": 1, "ppo_epochs": 2} | actor
    return OmegaConf.create({"actor_rollout_ref": {"actor": options}})


def counted(*ranks: Rank) -> Group:
    group = Group(*ranks)
    count_forwards(config(), group)
    return group


def micro_batches(lengths: torch.Tensor, budget: int, dynamic: bool = True) -> list[torch.Tensor]:
    """verl's: the lengths of each micro-batch's rows."""
    rows = torch.nested.as_nested_tensor([torch.zeros(n, dtype=torch.long) for n in lengths], layout=torch.jagged)
    data = TensorDict({"input_ids": rows}, batch_size=[len(lengths)])
    tu.assign_non_tensor(data, use_dynamic_bsz=dynamic, max_token_len_per_gpu=budget, micro_batch_size_per_gpu=4)
    return [batch["input_ids"].offsets().diff() for batch in prepare_micro_batches(data)[0]]


def padding(lengths: torch.Tensor, budget: int) -> int:
    return sum(int(sizes.max() * len(sizes) - sizes.sum()) for sizes in micro_batches(lengths, budget))


def rows(seed: int = 0, count: int = 16) -> torch.Tensor:
    return torch.randint(5, 30, (count,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(3))
def test_padding_is_that_of_verls_micro_batches(seed):
    lengths, rank = rows(seed), Rank()
    group, tokens = counted(rank), int(lengths.sum())
    rank.forward(rank.actor, lengths)
    assert forward_metrics("old", group, tokens, config())["cppo/padding/old"] == padding(lengths, INFER)
    rank.forward(rank.ref, lengths)
    assert forward_metrics("ref", group, tokens, config())["cppo/padding/ref"] == padding(lengths, INFER)
    for _epoch in range(2):
        for mini_batch in lengths.split(8):
            rank.forward(rank.actor, mini_batch, learns=True)
    expected = 2 * sum(padding(half, LEARN) for half in lengths.split(8))
    assert forward_metrics("update", group, tokens, config())["cppo/padding/update"] == expected


def test_fill_is_tokens_over_the_budgets_of_all_ranks_micro_batches():
    lengths, ranks = torch.tensor([60, 40, 9, 80, 20, 50]), (Rank(), Rank())
    group = counted(*ranks)
    for rank, share in zip(ranks, lengths.split(3), strict=True):
        rank.forward(rank.actor, share, packed=True)
    number = sum(len(micro_batches(share, INFER)) for share in lengths.split(3))
    found = forward_metrics("old", group, int(lengths.sum()), config())
    assert found == {"cppo/padding/old": 0, "cppo/fill/old": pytest.approx(259 / (INFER * number))}


def test_micro_batches_of_a_fixed_size_have_no_budget():
    lengths, rank = torch.tensor([1, 2, 3, 4, 5, 6, 7, 8]), Rank(dynamic=False)
    group = counted(rank)
    rank.forward(rank.actor, lengths)
    assert forward_metrics("old", group, 36, config()) == {"cppo/padding/old": 6 + 6}


def test_with_lora_the_reference_is_the_policy():
    lengths, rank = rows(), Rank(has_reference=False)
    group = counted(rank)
    rank.forward(rank.actor, lengths)
    old = forward_metrics("old", group, int(lengths.sum()), config())
    rank.forward(rank.actor, lengths)
    ref = forward_metrics("ref", group, int(lengths.sum()), config())
    assert list(ref.values()) == list(old.values()) and set(ref) == {"cppo/padding/ref", "cppo/fill/ref"}


def test_a_forward_is_counted_once_however_often_counting_is_begun():
    rank = Rank()
    group = counted(rank)
    rank.forward(rank.actor, rows())
    count_forwards(config(), group)
    assert forward_metrics("old", group, 1, config()) == {}, "what was before is no step's"
    rank.forward(rank.actor, rows())
    assert forward_metrics("old", group, int(rows().sum()), config())["cppo/padding/old"] == padding(rows(), INFER)
    assert forward_metrics("old", group, 1, config()) == {}, "no forward since"


@pytest.mark.parametrize("unknown", [{"strategy": "megatron"}, {"ulysses_sequence_parallel_size": 2}])
def test_what_is_not_known_is_not_asked_for(unknown):
    group = Group(Rank())
    count_forwards(config(**unknown), group)
    assert forward_metrics("old", group, 12, config(**unknown)) == {} and not group.calls


def test_a_sharded_model_is_counted(tmp_path):
    """By FSDP2, whose own hooks stand before ours."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        rank = Rank()
        fully_shard(rank.actor.engine.module, mesh=init_device_mesh("cpu", (1,)))
        group = counted(rank)
        rank.forward(rank.actor, rows())
        assert forward_metrics("old", group, int(rows().sum()), config())["cppo/padding/old"] == padding(rows(), INFER)
    finally:
        dist.destroy_process_group()

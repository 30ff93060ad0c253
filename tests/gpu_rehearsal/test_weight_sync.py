"""The way of weights to the engine: on its own GPU by NCCL, on the trainer's in verl's buckets, large ones beside them.

CUDA's handles of memory cannot be had here. What stands in for them hands over the tensor itself, to the same process.
"""

from __future__ import annotations

import asyncio
import threading

import pytest
import torch
from lent_memory import without_gpu
from verl.workers.rollout.vllm_rollout import bucketed_weight_transfer as transfer

from cppo_verl.weight_sync.transports import transport_fault

MEBI = 2**20


@pytest.fixture
def handles(monkeypatch):
    """verl's transfer on the CPU, with the handles that CUDA would give."""
    without_gpu(transfer, monkeypatch)
    lent: dict[int, torch.Tensor] = {}
    received = []

    def lend(tensor: torch.Tensor) -> int:
        lent[tensor.data_ptr()] = tensor
        return tensor.data_ptr()

    def borrow(handle: int, device_id: int | None = None) -> torch.Tensor:
        received.append(handle)
        return lent[handle]

    monkeypatch.setattr(transfer, "reduce_tensor", lend)
    monkeypatch.setattr(transfer, "rebuild_ipc", borrow)
    return received


@pytest.fixture
def address(tmp_path) -> str:
    return f"ipc://{tmp_path}/weights.sock"


def sync(weights: dict[str, torch.Tensor], address: str, bucket_mb: int) -> tuple[dict[str, torch.Tensor], int]:
    """What arrives, and in how many buckets."""
    arrived, buckets = {}, []

    def take(some, is_last):
        buckets.append(is_last)
        arrived.update((name, tensor.clone()) for name, tensor in some)

    receiver = transfer.BucketedWeightReceiver(address, torch.device("cpu"))
    thread = threading.Thread(target=receiver.receive_weights, args=(take,), daemon=True)
    thread.start()
    asyncio.run(transfer.BucketedWeightSender(address, bucket_mb).async_send_weights(iter(weights.items())))
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert buckets[-1] and not any(buckets[:-1])
    return arrived, len(buckets)


def test_small_weights_share_buckets_and_a_large_one_goes_by_itself(handles, address):
    """As the embedding of a 7B model, 2.2 GB in float32, beside verl's bucket of 2,048 MiB."""
    torch.manual_seed(0)
    sizes = {"embed": 3 * MEBI // 4, "norm": 7, "up": MEBI // 8, "down": MEBI // 8, "lm_head": 3 * MEBI // 4, "bias": 5}
    weights = {name: torch.randn(size) for name, size in sizes.items()}
    weights["half"] = torch.randn(9).bfloat16()
    weights["odd"] = torch.arange(3, dtype=torch.uint8)
    weights["after"] = torch.randn(11)
    arrived, buckets = sync(weights, address, bucket_mb=2)
    assert list(arrived) == list(weights)
    for name, weight in weights.items():
        assert arrived[name].dtype == weight.dtype and torch.equal(arrived[name], weight), name
    of_the_bucket, *of_large = handles
    assert [weights[name].data_ptr() for name in ("embed", "lm_head")] == of_large
    assert buckets == 4 and of_the_bucket not in of_large


@pytest.mark.parametrize("bucket_mb", [1, 4])
def test_a_bucket_that_holds_all_weights_lends_none(handles, address, bucket_mb):
    weights = {name: torch.randn(MEBI // 8) for name in "abcdef"}
    arrived, buckets = sync(weights, address, bucket_mb)
    assert all(torch.equal(arrived[name], weight) for name, weight in weights.items())
    assert len(handles) == 1 and buckets == (3 if bucket_mb == 1 else 1)


def test_nccl_is_there_for_engines_on_gpus_of_their_own(config):
    """verl leaves it out of its table, without a word, where a package of it is missing."""
    assert (
        transport_fault(config("recipe=gsm8k", "mode=separate_async", "device=gpu", "trainer.n_gpus_per_node=1"))
        is None
    )

"""What a device holds while weights are sent: verl's own generator, sender and transport, and what `fit` counts."""

from __future__ import annotations

import asyncio
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import verl
from lent_memory import without_gpu
from torch.distributed._tools.mem_tracker import MemTracker
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import Qwen2Config, Qwen2ForCausalLM
from verl.checkpoint_engine import CheckpointEngineRegistry
from verl.workers.engine.fsdp import transformer_impl

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.hardware.estimates import model_of
from cppo_verl.hardware.fit_command import find_model
from cppo_verl.hardware.fitting import Job, fit
from cppo_verl.hardware.memory import GIB
from cppo_verl.hardware.sync import MEBI, bucket_megabytes, separate_sync, shared_sync

QWEN_05B, QWEN_7B = find_model("qwen2.5-0.5b"), find_model("qwen2.5-7b")
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def load(path: str) -> ModuleType:
    """A module of verl's by itself: without its package, which wants vLLM, and for nobody else."""
    spec = spec_from_file_location(Path(path).stem, Path(verl.__file__).parent / path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


transfer = load("workers/rollout/vllm_rollout/bucketed_weight_transfer.py")


class Sender(transfer.BucketedWeightSender):
    """verl's, to an engine that takes everything at once."""

    def _init_socket(self) -> None:
        self.socket = SimpleNamespace(send_pyobj=lambda _: None, recv=lambda: b"", close=lambda: None)


@pytest.fixture
def two_ranks(monkeypatch):
    """This process is one of two; what the other one sends is not there, but room for it is made."""
    without_gpu(transfer, monkeypatch)
    monkeypatch.setattr(transfer, "reduce_tensor", lambda tensor: None)
    monkeypatch.setattr(transformer_impl, "get_device_id", lambda: "cpu")
    monkeypatch.setattr(transformer_impl, "log_gpu_memory_usage", lambda *_, **__: None)
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(("vocabulary", "tied"), [(4096, True), (4096, False), (128, False)])
def test_a_bucket_and_whole_weights_are_what_verl_allocates(two_ranks, vocabulary, tied):
    """verl's engine over two ranks gathers its weights for verl's sender: all that is taken, to the byte."""
    config = Qwen2Config(**SHAPE, vocab_size=vocabulary, tie_word_embeddings=tied)
    engine = object.__new__(transformer_impl.FSDPEngineWithLMHead)
    engine.module = fully_shard(Qwen2ForCausalLM(config), mesh=init_device_mesh("cpu", (2,)))
    engine.model_config = SimpleNamespace(lora={}, hf_config=config)
    engine._uses_fsdp2_cpu_offload_policy = engine._is_offload_param = engine._qat_enabled = False
    model = model_of(config)
    with MemTracker() as tracker, torch.no_grad():
        weights, _ = engine.get_per_tensor_param()
        asyncio.run(Sender("nowhere", bucket_megabytes(model)).async_send_weights(weights))
    taken = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    counted = shared_sync(model, tensor_shards=1, training=4 * model.parameters // 2)
    assert counted.buckets == bucket_megabytes(model) * MEBI
    assert taken == counted.total - counted.engine


def test_nccl_has_two_buckets_on_every_rank(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(ndarray=torch.Tensor))
    monkeypatch.setattr(CheckpointEngineRegistry, "_registry", dict(CheckpointEngineRegistry._registry))
    nccl = load("checkpoint_engine/nccl_checkpoint_engine.py")
    made = []
    monkeypatch.setattr(torch, "zeros", lambda size, **_: made.append(size))
    rank = SimpleNamespace(is_master=False, bucket_size=64 * MEBI, get_node_id=lambda: "")
    nccl.NCCLCheckpointEngine.prepare(rank)
    assert made == [64 * MEBI] * 2
    trainer, of_the_engine = separate_sync(QWEN_7B, 1, training=0)
    assert trainer.buckets == 2 * 4096 * MEBI
    assert of_the_engine.buckets == 3 * 4096 * MEBI, "and the one that vLLM reads from"


def test_a_bucket_holds_the_largest_weight():
    assert (bucket_megabytes(QWEN_05B), bucket_megabytes(QWEN_7B)) == (2048, 4096)


def test_an_engine_is_split_until_what_is_sent_fits_beside_it():
    """7B on devices that hold half of its weights beside a bucket, while the cache's share would allow all of them."""
    one, two = (shared_sync(QWEN_7B, shards, training=0).total for shards in (1, 2))
    memory = next(size for size in range(1, 80) if Job(QWEN_7B, 8, size * GIB, 512).usable >= two) * GIB
    job = Job(QWEN_7B, 8, memory, 512)
    assert job.usable < one
    found = fit(job)
    assert found.tensor_shards >= 2 and found.sync.total <= job.usable


def test_what_has_no_room_for_weights_on_their_way_is_told():
    """An update by offload would fit; the engine's weights beside a bucket do not."""
    with pytest.raises(ConfigError, match=r"weights on their way to the engine \d+ GiB"):
        fit(Job(QWEN_7B, 1, 12 * GIB, 128))

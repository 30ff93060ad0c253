"""What vLLM forgets in its deepest sleep is there again before anyone samples: from verl's manager to vLLM's executor.

On the CPU the engine never sleeps. Here each step of the way is verl's or vLLM's own code, but for Ray between them and
for the memory itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
import torch
from omegaconf import OmegaConf
from verl.checkpoint_engine import CheckpointEngineManager
from verl.workers import engine_workers
from verl.workers.engine_workers import ActorRolloutRefWorker
from verl.workers.rollout.replica import RolloutMode
from verl.workers.rollout.vllm_rollout import ServerAdapter, vllm_rollout
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer
from vllm.v1.executor.abstract import Executor

from cppo_verl.studies.sequence import hand_over

ROLLOUT = OmegaConf.create({"name": "vllm", "free_cache_engine": True, "mtp": {"enable": False}})
ROLLOUT.checkpoint_engine = {"backend": "naive", "update_weights_bucket_megabytes": 2048}


class Memory(Executor):
    """vLLM's executor, whose worker only keeps book of what is on the device."""

    def __init__(self):
        self.is_sleeping, self.sleeping_tags = False, set()
        self.held = {"weights": "of the file", "kv_cache": "empty"}

    def collective_rpc(self, method, timeout=None, args=(), kwargs=None, **_):
        getattr(self, f"worker_{method}")(**(kwargs or {}))

    def worker_sleep(self, level: int) -> None:
        assert level == 2, "weights that a sync brings anew would be kept on the host"
        self.held = {}

    def worker_wake_up(self, tags: list[str] | None) -> None:
        for tag in tags or ("weights", "kv_cache"):
            assert tag not in self.held, f"{tag} would be mapped twice"
            self.held[tag] = "nothing"

    _init_executor = check_health = lambda self: None


class Remote:
    """An object whose methods are called as those of a Ray actor."""

    def __init__(self, actor):
        self.actor = actor

    def __getattr__(self, name):
        method = getattr(self.actor, name)
        return SimpleNamespace(remote=lambda *args, **kwargs: asyncio.ensure_future(method(*args, **kwargs)))


class Engine:
    """vLLM's asynchronous engine as verl calls it."""

    def __init__(self):
        self.memory, self.stale = Memory(), False

    async def sleep(self, level):
        self.memory.sleep(level)

    async def wake_up(self, tags):
        self.memory.wake_up(tags)

    async def collective_rpc(self, method, **_):
        """The worker's end of the weight sync: from here on the cache is of other weights."""
        assert method == "update_weights_from_ipc"
        self.stale = True

    async def reset_prefix_cache(self, **_):
        self.stale = False

    async def nothing(self, **_):
        pass

    reset_encoder_cache = reset_mm_cache = nothing


class Sender:
    """verl's end of the weight sync; the weights are their name."""

    def __init__(self, zmq_handle: Memory, **_):
        self.memory = zmq_handle

    async def async_send_weights(self, weights: str) -> None:
        assert "weights" in self.memory.held, "written to memory that is not mapped"
        self.memory.held["weights"] = weights


def make_adapter(server: vLLMHttpServer) -> ServerAdapter:
    """verl's adapter of one engine."""
    adapter = object.__new__(ServerAdapter)
    adapter.config, adapter.server_handle, adapter._has_server = ROLLOUT, Remote(server), True
    adapter.zmq_handle, adapter.use_shm = server.engine.memory, False
    adapter.replica_rank = adapter.rollout_rank = 0
    return adapter


class Workers:
    """A group of one, whose actor is what was loaded into it last."""

    def __init__(self, adapter: ServerAdapter):
        self.weights = "of the start"
        self.worker = object.__new__(ActorRolloutRefWorker)
        engine = SimpleNamespace(get_per_tensor_param=lambda **_: (self.weights, None), is_param_offload_enabled=False)
        self.worker.config = SimpleNamespace(rollout=ROLLOUT)
        self.worker.actor, self.worker.rollout = SimpleNamespace(engine=engine), adapter
        self.worker.layered_summon, self.worker.peft_merge, self.worker.base_sync_done = False, False, True

    def update_weights(self, **kwargs):
        return self.worker.update_weights(**kwargs)

    def load_checkpoint(self, folder: str) -> None:
        self.weights = folder


def in_another_loop(coroutine: Coroutine) -> None:
    """What a worker is asked for goes on beside the caller, who waits."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, coroutine).result()


@pytest.fixture
def stack(monkeypatch):
    """A trainer with what `hand_over` and a step use of it, and its engine's memory."""
    device = SimpleNamespace(empty_cache=lambda: None, synchronize=lambda: None)
    monkeypatch.setattr(engine_workers, "get_torch_device", lambda: device)
    for name in ("set_expandable_segments", "log_gpu_memory_usage"):
        monkeypatch.setattr(engine_workers, name, lambda *_, **__: None)
    monkeypatch.setattr(torch.distributed, "barrier", lambda: None)
    monkeypatch.setattr(vllm_rollout, "BucketedWeightSender", Sender)
    monkeypatch.setattr(ray, "get", in_another_loop)
    server = object.__new__(vLLMHttpServer)
    server.config, server.node_rank, server.rollout_mode, server.engine = ROLLOUT, 0, RolloutMode.HYBRID, Engine()
    server.model_config = SimpleNamespace(lora_rank=0, lora={})
    workers = Workers(make_adapter(server))
    manager = object.__new__(CheckpointEngineManager)
    manager.backend, manager.actor_wg, manager.replicas = "naive", workers, [server]
    trainer = SimpleNamespace(checkpoint_manager=manager, actor_rollout_wg=workers, use_critic=False)
    return trainer, server.engine


@pytest.mark.parametrize("sleeps_already", [False, True])
def test_the_next_run_of_a_sequence_samples_from_its_own_first_weights(stack, sleeps_already):
    trainer, engine = stack
    manager, workers, memory = trainer.checkpoint_manager, trainer.actor_rollout_wg, engine.memory
    for step in range(2):
        manager.sleep_replicas()
        assert memory.held == {}
        workers.weights = f"of step {step}"
        manager.update_weights(step)
        assert memory.held["weights"] == f"of step {step}" and "kv_cache" in memory.held
    if sleeps_already:
        manager.sleep_replicas()
    following = SimpleNamespace(use_critic=False)
    hand_over({"checkpoint_manager": manager, "actor_rollout_wg": workers}, following, Path("initial"))
    assert memory.held == {} and memory.is_sleeping
    following.checkpoint_manager.update_weights(0)
    assert memory.held == {"weights": "initial/actor", "kv_cache": "nothing"}
    assert not memory.is_sleeping and not engine.stale

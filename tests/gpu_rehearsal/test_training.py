"""Every shipped training script with `device=gpu`, from its command line to vLLM's plan of the engine."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from types import SimpleNamespace

import pytest
import ray
import torch
from fake_gpu import builds_its_sampler
from omegaconf import DictConfig
from shipped import Script, questions, scripts, stand_in
from verl.utils.config import omega_conf_to_dataclass
from verl.workers import engine_workers
from verl.workers.engine_workers import TrainingWorkerConfig
from verl.workers.rollout.replica import RolloutMode
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.worker.worker_base import WorkerWrapperBase

from cppo_verl.config.compose import compose
from cppo_verl.preflight.prepare import prepare
from cppo_verl.trainer.verl_checks import check_by_verl
from cppo_verl.weight_sync.adapters import OwnSocketExtension


class Planned(Exception):
    """The engine is planned; what follows needs a GPU."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture
def prepared(files, tmp_path):
    """`prepared(script)`: its config as `train` would start it, on files that stand in for those of a hub."""

    def of(script: Script, *overrides: str) -> DictConfig:
        chosen = compose([*script.overrides, "device=gpu"])
        model, rows = stand_in(chosen.actor_rollout_ref.model.path, files), questions(files)
        config = compose(
            [
                *script.overrides,
                *("device=gpu", "dry_run=true", f"actor_rollout_ref.model.path={model}"),
                *(f"data.train_files={rows}", f"data.val_files={rows}", f"trainer.default_local_dir={tmp_path}/run"),
                *overrides,
            ]
        )
        prepare(config)
        return config

    return of


@pytest.fixture
def plan_engine(monkeypatch):
    """`plan_engine(config)`: vLLM's config of a run's engine, by verl's own server."""
    job = SimpleNamespace(get_job_id=lambda: "01000000")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: job)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")

    def stop(vllm_config, **_):
        raise Planned(vllm_config)

    monkeypatch.setattr(AsyncLLM, "from_vllm_config", stop)

    def plan(config: DictConfig):
        parts = config.actor_rollout_ref
        server = vLLMHttpServer(
            config=parts.rollout,
            model_config=parts.model,
            rollout_mode=RolloutMode.HYBRID,
            workers=[],
            replica_rank=0,
            node_rank=0,
            gpus_per_node=config.trainer.n_gpus_per_node,
            nnodes=1,
            cuda_visible_devices="0",
        )
        with pytest.raises(Planned) as planned:
            asyncio.run(server.launch_server())
        return planned.value.args[0]

    return plan


class Recorded:
    """In place of a worker of verl's that trains: what it was told."""

    def __init__(self, config: TrainingWorkerConfig):
        self.told = config

    def get_dispatch_collect(self) -> dict:
        return {}

    reset = set_loss_fn = lambda *_, **__: None


@pytest.fixture
def plan_workers(monkeypatch):
    """`plan_workers(config)`: what verl's worker tells those of the policy and the reference that it starts."""
    monkeypatch.setattr(engine_workers, "aggressive_empty_cache", lambda **_: None)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)

    def plan(config: DictConfig) -> tuple[TrainingWorkerConfig, TrainingWorkerConfig]:
        worker = object.__new__(engine_workers.ActorRolloutRefWorker)
        worker.config, worker.role = deepcopy(config.actor_rollout_ref), "actor_ref"  # no rollout: that asks Ray
        worker.distillation_enabled, worker._omega_profiler_config = False, {}
        worker.actor_worker_cls = worker.ref_worker_cls = Recorded
        worker.set_dispatch_collect = lambda **_: None
        worker.init_model()
        return worker.actor.told, worker.ref.told

    return plan


@pytest.mark.parametrize("script", scripts("train"), ids=lambda script: script.name)
def test_verl_and_vllm_take_it(script, prepared, plan_workers, plan_engine):
    config = prepared(script)
    check_by_verl(config)
    for told in plan_workers(config):
        assert told.engine_config.strategy == "fsdp2" and told.engine_config.use_remove_padding
        assert told.model_config.override_config["attn_implementation"] in ("sdpa", "flash_attention_2")
    if config.critic.enable:
        assert omega_conf_to_dataclass(config.critic).strategy == "fsdp2"
    engine, rollout = plan_engine(config), config.actor_rollout_ref.rollout
    assert (engine.scheduler_config.max_num_seqs, engine.scheduler_config.max_num_batched_tokens) == (
        rollout.max_num_seqs,
        rollout.max_num_batched_tokens,
    )
    assert engine.parallel_config.tensor_parallel_size == rollout.tensor_model_parallel_size
    assert engine.cache_config.gpu_memory_utilization == rollout.gpu_memory_utilization
    assert engine.model_config.max_model_len >= config.data.max_prompt_length + config.data.max_response_length
    assert engine.model_config.dtype.itemsize == 2
    assert engine.model_config.enable_sleep_mode and engine.compilation_config.cudagraph_capture_sizes
    assert not builds_its_sampler(engine)


def test_the_engines_worker_takes_our_end_of_the_weight_sync(prepared, plan_engine):
    """vLLM mixes the extension into its worker for GPUs, and refuses one whose names are taken."""
    script = next(script for script in scripts("train") if script.name == "cppo/gsm8k_cppo")
    engine = plan_engine(prepared(script))
    wrapper = WorkerWrapperBase(rpc_rank=0)
    own = {"vllm_config": engine, "local_rank": 0, "rank": 0, "distributed_init_method": "", "is_driver_worker": True}
    wrapper.init_worker([own])
    assert isinstance(wrapper.worker, OwnSocketExtension)

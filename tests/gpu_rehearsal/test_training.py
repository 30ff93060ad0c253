"""Every shipped training script with `device=gpu`, from its command line to vLLM's plan of the engine."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
import ray
from omegaconf import DictConfig, OmegaConf
from shipped import Script, questions, scripts, stand_in
from verl.utils.config import omega_conf_to_dataclass
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


@pytest.mark.parametrize("script", scripts("train"), ids=lambda script: script.name)
def test_verl_and_vllm_take_it(script, prepared, plan_engine):
    config = prepared(script)
    check_by_verl(config)
    parts = config.actor_rollout_ref
    for part in (parts.actor, parts.ref, parts.rollout, *([config.critic] if config.critic.enable else [])):
        omega_conf_to_dataclass(part)
    engine, rollout = plan_engine(config), parts.rollout
    assert (engine.scheduler_config.max_num_seqs, engine.scheduler_config.max_num_batched_tokens) == (
        rollout.max_num_seqs,
        rollout.max_num_batched_tokens,
    )
    assert engine.parallel_config.tensor_parallel_size == rollout.tensor_model_parallel_size
    assert engine.cache_config.gpu_memory_utilization == rollout.gpu_memory_utilization
    assert engine.model_config.max_model_len >= config.data.max_prompt_length + config.data.max_response_length
    assert engine.model_config.dtype.itemsize == 2
    assert engine.model_config.enable_sleep_mode and engine.compilation_config.cudagraph_capture_sizes


def test_the_engines_worker_takes_our_end_of_the_weight_sync(prepared, plan_engine):
    """vLLM mixes the extension into its worker for GPUs, and refuses one whose names are taken."""
    script = next(script for script in scripts("train") if script.name == "cppo/gsm8k_cppo")
    engine = plan_engine(prepared(script))
    wrapper = WorkerWrapperBase(rpc_rank=0)
    own = {"vllm_config": engine, "local_rank": 0, "rank": 0, "distributed_init_method": "", "is_driver_worker": True}
    wrapper.init_worker([own])
    assert isinstance(wrapper.worker, OwnSocketExtension)
    assert OmegaConf.is_config(engine) is False and wrapper.worker.local_rank == 0

"""Every shipped evaluation script with `device=gpu`, to vLLM's plan of the engine and the sampler that it takes."""

from __future__ import annotations

import pytest
from fake_gpu import builds_its_sampler
from omegaconf import open_dict
from rich.console import Console
from shipped import Script, questions, scripts, stand_in
from vllm import LLMEngine
from vllm.config import VllmConfig

from cppo_verl.config.compose import compose
from cppo_verl.evaluation.command import CONFIG, evaluate


class Planned(Exception):
    """The engine is planned; what follows needs a GPU."""


@pytest.fixture
def plan(monkeypatch, tmp_path):
    """`plan(script)`: vLLM's config of an evaluation's engine."""

    def stop(engine_args, *_, **__):
        raise Planned(engine_args.create_engine_config())

    monkeypatch.setattr(LLMEngine, "from_engine_args", stop)

    def planned(script: Script) -> VllmConfig:
        config = compose([*script.overrides, "device=gpu"], CONFIG, "evaluate")
        model, rows = stand_in(config.model, tmp_path), questions(tmp_path)
        with open_dict(config):
            config.update(model=str(model), files=dict.fromkeys(config.benchmarks, str(rows)), limit=8)
        config.out = str(tmp_path / "out")
        with pytest.raises(Planned) as stopped:
            evaluate(config, Console(quiet=True))
        return stopped.value.args[0]

    return planned


@pytest.mark.parametrize("script", scripts("evaluate"), ids=lambda script: script.name)
def test_vllm_takes_it(script, plan):
    engine = plan(script)
    assert engine.scheduler_config.max_num_seqs == 512
    assert engine.model_config.max_model_len > 2048 and engine.model_config.dtype.itemsize == 2
    assert engine.cache_config.enable_prefix_caching and engine.compilation_config.cudagraph_capture_sizes


def test_the_sampler_has_to_be_built_by_nobody(plan):
    """Where there is no nvcc, every evaluation would end when the engine starts."""
    script = next(script for script in scripts("evaluate") if script.name == "cppo/gsm8k_eval")
    assert not builds_its_sampler(plan(script))

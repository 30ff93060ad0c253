"""The attention of runs on GPUs: chosen by what is installed, refused where it cannot work, said in the plan."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from verl.utils.fsdp_utils import _select_fsdp2_wrap_targets
from verl_rows import write_model, write_rows

from cppo_verl.config import attention
from cppo_verl.config.compose import compose
from cppo_verl.evaluation.command import CONFIG as EVALUATION
from cppo_verl.hardware.drivers import needed_driver, why_no_gpu
from cppo_verl.preflight import attention as checks
from cppo_verl.preflight.refusals import refusals
from cppo_verl.sft import command
from cppo_verl.train import run

SFT = Path(command.__file__).parent / "conf"
KEY = f"actor_rollout_ref.{checks.ATTENTION}"
BUDGETS = [
    f"actor_rollout_ref.{budget}={{}}"
    for budget in (
        *("actor.ppo_max_token_len_per_gpu", "rollout.log_prob_max_token_len_per_gpu"),
        "ref.log_prob_max_token_len_per_gpu",
    )
]


@pytest.fixture
def installed(monkeypatch):
    """`installed("flash_attn_2_cuda")`: those packages seem to be there, and no others."""

    def of(*names: str) -> None:
        for module in (attention, checks):
            monkeypatch.setattr(module, "find_spec", lambda name: name if name in names else None)

    return of


@pytest.mark.parametrize(("there", "chosen"), [((), "sdpa"), ((attention.EXTENSION,), "flash_attention_2")])
def test_it_is_what_is_installed(config, installed, there, chosen):
    installed(*there)
    made = config("recipe=ppo_gsm8k")
    assert OmegaConf.select(made, KEY) == made.critic.model.override_config.attn_implementation == chosen
    assert checks.attention_in_words(made.actor_rollout_ref).startswith(chosen)
    warm_start = compose(["device=gpu"], SFT, "sft")
    assert warm_start.model.override_config.attn_implementation == chosen
    assert OmegaConf.select(config("recipe=gsm8k", "device=cpu"), KEY) == "sdpa"


@pytest.mark.parametrize(
    ("there", "options", "says"),
    [
        ((), (), "sdpa, torch's own: flash-attn is not installed here"),
        ((attention.EXTENSION,), (), "flash_attention_2"),
        ((attention.EXTENSION,), (f"{KEY}=sdpa",), "sdpa, torch's own"),
        ((), ("device=cpu",), None),
    ],
)
def test_the_plan_has_a_row_of_it(config, installed, tmp_path, capsys, there, options, says):
    installed(*there)
    rows = write_rows(tmp_path / "rows.parquet", [f"question {i}" for i in range(64)])
    files = (f"data.train_files={rows}", f"data.val_files={rows}", f"trainer.default_local_dir={tmp_path}/run")
    model = f"actor_rollout_ref.model.path={write_model(tmp_path)}"
    run(config("recipe=gsm8k", "dry_run=true", model, *files, *options))
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert [row[1] for row in cells if row and row[0] == "attention"] == ([says] if says else [])


def test_flash_attn_that_cannot_be_imported_is_refused(config, installed):
    asked = config("recipe=gsm8k", f"{KEY}=flash_attention_2")
    for there in ((), (attention.EXTENSION,)):
        installed(*there)
        (message,) = checks.flash_faults(asked)
        assert "cannot be imported (No module named 'flash_attn_2_cuda')" in message and "set it to sdpa" in message
    installed("kernels")
    assert list(checks.flash_faults(asked)) == [], "transformers takes the hub's build"
    installed()
    assert list(checks.flash_faults(config("recipe=gsm8k"))) == []
    assert list(checks.flash_faults(config("recipe=gsm8k", f"{KEY}=flash_attention_2", "dry_run=true"))) == []


@pytest.mark.parametrize("version", [3, 4])
def test_another_flash_attn_that_is_not_there_is_refused(config, installed, version):
    asked = config("recipe=gsm8k", f"{KEY}=flash_attention_{version}")
    installed()
    (message,) = checks.flash_faults(asked)
    assert message.startswith(f"{KEY}=flash_attention_{version}, but") and "set it to sdpa" in message
    for there in ("kernels", checks.LATER[f"flash_attention_{version}"]):
        installed(there)
        assert list(checks.flash_faults(asked)) == []


def test_a_part_of_a_package_that_is_not_there_is_not_there(config):
    assert checks.find_spec("flash_attn") is None and not checks._is_there("flash_attn.cute")


def test_rows_longer_than_the_longest_sequence_are_remarked_on(config, installed):
    installed()
    assert list(checks.remarks_on_attention(config("recipe=gsm8k"))) == []
    longer = [budget.format(16384) for budget in BUDGETS]
    (remark,) = checks.remarks_on_attention(config("recipe=gsm8k", *longer))
    assert "up to 16,384" in remark and all(budget.format(4096) in remark for budget in BUDGETS)
    assert list(checks.remarks_on_attention(config("recipe=gsm8k", "device=cpu", *longer))) == []
    installed(attention.EXTENSION)
    assert list(checks.remarks_on_attention(config("recipe=gsm8k", *longer))) == []


@pytest.mark.parametrize(
    ("tied", "strategy", "refused"), [(False, "fsdp2", True), (True, "fsdp2", False), (False, "fsdp", False)]
)
def test_fused_kernels_need_one_embedding(config, tmp_path, tied, strategy, refused):
    model = write_model(tmp_path, tie_word_embeddings=tied)
    engine = f"actor_rollout_ref.actor.strategy={strategy}", f"actor_rollout_ref.model.path={model}"
    faults = list(checks.fused_faults(config("recipe=gsm8k", f"actor_rollout_ref.{checks.FUSED}=true", *engine)))
    assert bool(faults) == refused and all("set it to false" in fault for fault in faults)
    assert list(checks.fused_faults(config("recipe=gsm8k", *engine))) == []


def test_verl_shards_an_output_embedding_of_its_own():
    """Why the fused kernels are refused with it; when verl no longer does, they need not be."""
    model = torch.nn.Module()
    model.config = OmegaConf.create({"tie_word_embeddings": False})
    model.lm_head = torch.nn.Linear(2, 2)
    assert _select_fsdp2_wrap_targets(model, ["Layer"]) == [model.lm_head]
    model.config.tie_word_embeddings = True
    assert _select_fsdp2_wrap_targets(model, ["Layer"]) == []


def test_the_reference_is_half_as_large_to_bring(config):
    assert config("recipe=math").actor_rollout_ref.ref.fsdp_config.model_dtype == "bf16"
    assert config("recipe=math").actor_rollout_ref.actor.fsdp_config.model_dtype == "fp32"
    assert config("recipe=math", "device=cpu").actor_rollout_ref.ref.fsdp_config.model_dtype == "fp32"
    megatron = ("model_engine=megatron", "actor_rollout_ref.actor.strategy=megatron")
    (message,) = [m for m in refusals(config("recipe=gsm8k", *megatron)) if "no option of a reference" in m]
    assert message.endswith("give ~actor_rollout_ref.ref.fsdp_config")


def test_what_the_processes_of_a_run_on_gpus_are_told(config):
    """cuDNN's attention plans anew for each length of a row; FlashInfer's sampler is compiled, by an nvcc."""
    variable = "TORCH_CUDNN_SDPA_DEPRIORITIZED"
    assert config("recipe=gsm8k").ray_kwargs.ray_init.runtime_env.env_vars[variable] == "1"
    assert compose(["device=gpu"], SFT, "sft").environment[variable] == "1"
    told = compose(["device=gpu"], EVALUATION, "evaluate").environment
    assert told == {"VLLM_USE_FLASHINFER_SAMPLER": "0"}


def test_a_driver_that_is_too_old_is_named(monkeypatch):
    """torch says no more than that it sees no GPU."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "built for CUDA 13.0, which needs NVIDIA's driver 580 or newer" in why_no_gpu(torch)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "CPU build" in why_no_gpu(torch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert why_no_gpu(torch) == ""
    assert (needed_driver("12.8"), needed_driver("99.1"), needed_driver(None)) == (525, None, None)

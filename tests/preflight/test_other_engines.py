"""docs/engines.md: what composes and is valid with CPPO by the project's checks and verl's own, and what is refused."""

from __future__ import annotations

import pytest
import torch
import transformers.integrations.flash_attention as flash
from omegaconf import OmegaConf
from transformers import Qwen2Config
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.config import FSDPActorConfig, McoreActorConfig, RolloutConfig
from verl_rows import write_model, write_rows

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.preflight.check import check
from cppo_verl.preflight.other_engines import ATTENTION, OTHER_SHARDS, SCHEDULE, SHARDS
from cppo_verl.preflight.refusals import refusals

CPPO = ("recipe=gsm8k", "cppo.pruning_rate=0.75", "trainer.n_gpus_per_node=4")
SGLANG = "actor_rollout_ref.rollout.name=sglang"
MEGATRON = (
    *("model_engine=megatron", "actor_rollout_ref.actor.strategy=megatron", f"~{SCHEDULE}"),
    *("actor_rollout_ref.actor.optim.lr_decay_style=cosine", "~actor_rollout_ref.ref.fsdp_config"),
)
ULYSSES = (f"{SHARDS}=2", f"{ATTENTION}=flash_attention_2")


@pytest.fixture
def planned(config, tmp_path):
    """`planned("key=value", ...)`: a config of CPPO on data and a model that are there, only to be planned."""
    write_model(tmp_path, max_position_embeddings=32768)
    rows = write_rows(tmp_path / "rows.parquet", [f"question {i}" for i in range(64)])
    files = (f"data.train_files={rows}", f"data.val_files={rows}", f"actor_rollout_ref.model.path={tmp_path}")

    def of(*overrides: str):
        made = config(*CPPO, *files, f"trainer.default_local_dir={tmp_path}/run", "dry_run=true", *overrides)
        OmegaConf.resolve(made)
        return made

    return of


@pytest.mark.parametrize(
    ("overrides", "ranks"),
    [
        ((SGLANG,), 4),
        (MEGATRON, 4),
        ((*MEGATRON, "actor_rollout_ref.actor.megatron.tensor_model_parallel_size=2"), 2),
        ((*MEGATRON, "actor_rollout_ref.actor.megatron.context_parallel_size=2", SGLANG), 2),
        (ULYSSES, 2),
        (("actor_rollout_ref.model.lora_rank=8", "actor_rollout_ref.model.lora_alpha=16"), 4),
    ],
)
def test_what_works_is_planned(planned, overrides, ranks):
    plan = check(planned(*overrides))
    assert (plan.keep, plan.questions, plan.dp_size) == (4, 32, ranks)


def test_verl_accepts_the_options(planned):
    """Its own dataclasses, which its workers make of the config after the start, and which refuse unknown options."""
    sglang = omega_conf_to_dataclass(planned(SGLANG).actor_rollout_ref.rollout)
    assert isinstance(sglang, RolloutConfig) and sglang.name == "sglang"
    megatron = omega_conf_to_dataclass(planned(*MEGATRON).actor_rollout_ref.actor)
    assert isinstance(megatron, McoreActorConfig) and megatron.strategy == "megatron"
    assert megatron.optim.lr_decay_style == "cosine"
    sharded = omega_conf_to_dataclass(planned(*ULYSSES).actor_rollout_ref.actor)
    assert isinstance(sharded, FSDPActorConfig) and sharded.fsdp_config.ulysses_sequence_parallel_size == 2


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ((SGLANG, "cppo.rollout_seed=1"), "requests have no seeds of their own there; set cppo.rollout_seed=null"),
        ((f"{SHARDS}=2",), f"={2} with {ATTENTION}=sdpa: each shard would attend to its own tokens alone"),
        ((*ULYSSES, "actor_rollout_ref.model.use_remove_padding=false"), "needs packed sequences"),
        *(((f"{key}=2", f"{ATTENTION}=flash_attention_2"), f"{key}=2 is not what") for key in OTHER_SHARDS[:3]),
        ((*MEGATRON, "actor_rollout_ref.ref.strategy=fsdp2"), "set actor_rollout_ref.ref.strategy=megatron"),
        ((*MEGATRON[:2], MEGATRON[-1]), "give ~actor_rollout_ref.actor.optim.lr_scheduler_type and"),
    ],
)
def test_what_cannot_work_is_refused(planned, overrides, says):
    (message,) = refusals(planned(*overrides))
    assert says in message


@pytest.mark.parametrize(
    "shards",
    [("actor_rollout_ref.rollout.tensor_model_parallel_size=8",), (f"{SHARDS}=8", f"{ATTENTION}=flash_attention_2")],
)
def test_heads_that_do_not_split_over_shards(planned, shards):
    """verl and vLLM would say so after the start."""
    with pytest.raises(ConfigError) as caught:
        check(planned("trainer.n_gpus_per_node=8", *shards))
    (message,) = caught.value.args
    assert f"{shards[0]} does not divide the 4 attention heads of the model; nearest that works: 4" in message


def test_what_is_refused_of_megatron_verl_refuses_too(planned):
    with pytest.raises(Exception, match="lr_scheduler_type"):
        omega_conf_to_dataclass(planned(*MEGATRON[:2]).actor_rollout_ref.actor)


@pytest.mark.parametrize(("option", "package"), [(SGLANG, "sglang"), (MEGATRON[1], "megatron")])
def test_an_engine_that_is_not_installed_is_named(config, option, package):
    engine = [MEGATRON[0]] if package == "megatron" else []
    with pytest.raises(ConfigError, match=rf"={package}, but {package} is not installed"):
        check(config(*CPPO, *engine, option))


def test_only_flash_attention_passes_where_verl_exchanges_the_shards(monkeypatch):
    """verl 0.9.1 replaces `_flash_attention_forward`; attention through sdpa never comes there."""
    passed = []
    monkeypatch.setattr(flash, "_flash_attention_forward", lambda query, *_, **__: passed.append("here") or query)
    layer = torch.nn.Module()
    layer.config, layer.is_causal, layer.num_key_value_groups = Qwen2Config(), True, 1
    states = [torch.ones(1, 2, 8, 32, dtype=torch.bfloat16)] * 3
    ALL_ATTENTION_FUNCTIONS["sdpa"](layer, *states, None)
    assert passed == []
    ALL_ATTENTION_FUNCTIONS["flash_attention_2"](layer, *states, None)
    assert passed == ["here"]

"""recipe/ppo: the composed configs are the published settings; what a critic refuses; what it loads and weighs."""

import json
import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from transformers import AutoModelForCausalLM, Qwen2Config
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.config import FSDPEngineConfig, HFModelConfig
from verl.workers.engine import EngineRegistry
from verl_rows import write_rows

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.hardware.estimates import checkpoint_bytes, estimate_memory
from cppo_verl.hardware.fit_command import find_model
from cppo_verl.preflight.check import check
from cppo_verl.preflight.critic import critic_batch_faults
from cppo_verl.preflight.plan import micro_batch_faults, plan_from_config
from cppo_verl.preflight.prepare import describe
from cppo_verl.preflight.refusals import refusals, resume_refusals
from cppo_verl.preflight.sequence_length import length_faults
from cppo_verl.rewards.own import function_fault
from cppo_verl.trainer.v0.critic import ValueEngine

ACTOR, ROLLOUT, MODEL = (f"actor_rollout_ref.{part}" for part in ("actor", "rollout", "model"))
GSM8K = {
    f"{MODEL}.path": "Qwen/Qwen2.5-0.5B-Instruct",
    "critic.model.path": "Qwen/Qwen2.5-0.5B-Instruct",
    "algorithm.adv_estimator": "gae",
    "algorithm.gamma": 1.0,
    "algorithm.lam": 1.0,
    "algorithm.use_kl_in_reward": False,
    "data.train_batch_size": 256,
    "data.max_prompt_length": 512,
    "data.max_response_length": 256,
    f"{ROLLOUT}.n": 1,
    f"{ROLLOUT}.temperature": 1.0,
    f"{ROLLOUT}.tensor_model_parallel_size": 1,
    f"{ROLLOUT}.gpu_memory_utilization": 0.4,
    f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu": 8,
    f"{ACTOR}.ppo_mini_batch_size": 64,
    f"{ACTOR}.ppo_micro_batch_size_per_gpu": 4,
    f"{ACTOR}.ppo_epochs": 1,
    f"{ACTOR}.optim.lr": 1e-6,
    f"{ACTOR}.clip_ratio": 0.2,
    f"{ACTOR}.clip_ratio_low": 0.2,
    f"{ACTOR}.clip_ratio_high": 0.2,
    f"{ACTOR}.entropy_coeff": 0,
    f"{ACTOR}.use_kl_loss": False,
    f"{ACTOR}.loss_agg_mode": "token-mean",
    "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": 4,
    "critic.enable": True,
    "critic.strategy": "fsdp2",
    "critic.optim.lr": 1e-5,
    "critic.ppo_mini_batch_size": 64,
    "critic.ppo_micro_batch_size_per_gpu": 4,
    "critic.ppo_epochs": 1,
    "critic.cliprange_value": 0.5,
    "critic.loss_agg_mode": "token-mean",
    "cppo.pruning_rate": 0,
    "reward.custom_reward_function.path": "pkg://cppo_verl.rewards.gsm8k_hash",
    "reward.custom_reward_function.name": "compute_score",
    "trainer.critic_warmup": 0,
    "trainer.n_gpus_per_node": 1,
    "trainer.nnodes": 1,
    "trainer.total_epochs": 15,
    "trainer.test_freq": 10,
    "trainer.save_freq": 10,
}
MATH = GSM8K | {
    f"{MODEL}.path": "Qwen/Qwen2.5-1.5B-Instruct",
    "critic.model.path": "Qwen/Qwen2.5-1.5B-Instruct",
    "data.max_prompt_length": 1024,
    "data.max_response_length": 1024,
    "reward.custom_reward_function.path": "pkg://cppo_verl.rewards.math_boxed",
    "trainer.n_gpus_per_node": 2,
    "trainer.total_epochs": 3,
}
SEVEN = GSM8K | {
    f"{MODEL}.path": "Qwen/Qwen2.5-7B-Instruct",
    "critic.model.path": "Qwen/Qwen2.5-7B-Instruct",
    "data.train_batch_size": 1024,
    "data.max_response_length": 512,
    f"{ACTOR}.ppo_mini_batch_size": 256,
    f"{ACTOR}.ppo_micro_batch_size_per_gpu": 8,
    f"{ROLLOUT}.tensor_model_parallel_size": 2,
    "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": 8,
    "critic.ppo_mini_batch_size": 256,
    "critic.ppo_micro_batch_size_per_gpu": 8,
    "trainer.n_gpus_per_node": 8,
}
PUBLISHED = {"ppo_gsm8k": GSM8K, "ppo_math": MATH, "ppo_gsm8k_7b": SEVEN}


@pytest.fixture
def one_rank(tmp_path_factory):
    """A process group of one."""
    store = torch.distributed.FileStore(str(tmp_path_factory.mktemp("group") / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


QWEN = find_model("qwen2.5-0.5b")
"""Qwen2.5-0.5B-Instruct."""


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_the_settings_are_the_published_ones(config, recipe):
    resolved = config(f"recipe={recipe}")
    OmegaConf.resolve(resolved)
    assert {key: OmegaConf.select(resolved, key) for key in PUBLISHED[recipe]} == PUBLISHED[recipe]


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("recipe", PUBLISHED)
def test_recipes_plan_and_refuse_nothing(config, recipe, device):
    resolved = config(f"recipe={recipe}", f"device={device}")
    ranks = resolved.trainer.n_gpus_per_node
    OmegaConf.resolve(resolved)
    plan, batch = plan_from_config(resolved), PUBLISHED[recipe]["data.train_batch_size"]
    assert (plan.rollout_n, plan.keep, plan.questions, plan.rows) == (1, 1, batch, batch)
    assert (plan.mini_batches, plan.dp_size) == (4, ranks)
    for faults in (refusals, resume_refusals, length_faults):
        assert list(faults(resolved)) == []
    assert [*critic_batch_faults(resolved, plan), *micro_batch_faults(resolved, plan)] == []
    reward = resolved.reward.custom_reward_function
    assert function_fault(reward.path, reward.name) is None


def test_verl_reads_the_critics_micro_batches_and_budgets(config, tmp_path):
    """verl 0.9.1 takes them from other keys than `critic.use_dynamic_bsz` and its like: those follow."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}))
    options = ("recipe=ppo_gsm8k", f"{MODEL}.path={tmp_path}", "+critic.model.load_tokenizer=false")
    resolved = config(*options)
    OmegaConf.resolve(resolved)
    critic = omega_conf_to_dataclass(resolved.critic)
    assert (critic.engine.strategy, critic.engine.use_dynamic_bsz) == ("fsdp2", False)
    assert (critic.engine.micro_batch_size_per_gpu, critic.engine.infer_micro_batch_size_per_gpu) == (4, 4)
    packed = ("critic.use_dynamic_bsz=true", "critic.forward_max_token_len_per_gpu=4096")
    critic = omega_conf_to_dataclass(config(*options, *packed).critic)
    assert (critic.engine.use_dynamic_bsz, critic.ppo_infer_max_token_len_per_gpu) == (True, 4096)
    assert critic.model.hf_config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("cppo.pruning_rate=0.5", "cppo.pruning_rate=0.5 with a critic: its advantages are of tokens"),
        ("cppo.zero_variance=drop actor_rollout_ref.actor.use_dynamic_bsz=true", "drop with a critic"),
        ("trainer.use_v1=true", "trainer.use_v1=true with a critic is not supported"),
        ("critic.strategy=megatron", "critic.strategy=megatron: a critic was built for fsdp2 and fsdp only"),
        ("critic.enable=false", "algorithm.adv_estimator=gae with critic.enable=false: for PPO set"),
        ("algorithm.adv_estimator=grpo", "algorithm.adv_estimator=grpo with critic.enable=true: for PPO set"),
        ("trainer.critic_warmup=3", "trainer.critic_warmup must be 0"),
        ("algorithm.use_kl_in_reward=true", "use actor_rollout_ref.actor.use_kl_loss=true"),
    ],
)
def test_refusals(config, override, says):
    (message,) = refusals(config("recipe=ppo_gsm8k", *override.split()))
    assert says in message


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("critic.ppo_mini_batch_size=96", r"critic\.ppo_mini_batch_size=96 does not split the 256 .* actor's, 64"),
        ("critic.ppo_micro_batch_size_per_gpu=24", r"critic\.ppo_micro_batch_size_per_gpu=24 .* 64 rows .*: 16, or"),
        (
            "critic.use_dynamic_bsz=true critic.ppo_max_token_len_per_gpu=512",
            r"critic\.ppo_max_token_len_per_gpu=512 is less than the longest sequence.*768",
        ),
        ("critic.optim.lr=0", r"critic\.optim\.lr=0 must be a number above 0"),
        ("algorithm.lam=1.5", r"algorithm\.lam=1\.5 must be a number from 0 to 1"),
        (
            "critic.checkpoint.save_contents=[model]",
            r"critic\.checkpoint\.save_contents=\[model\] leaves out optimizer",
        ),
        ("critic.model.path=/no/such/model", r"critic\.model\.path: no model at"),
    ],
)
def test_faults_of_a_critic_are_found_before_anything_starts(config, override, says):
    with pytest.raises(ConfigError, match=says):
        check(config("recipe=ppo_gsm8k", *override.split()))


def test_what_a_step_does_is_said(config, tmp_path):
    rows = write_rows(tmp_path / "rows.parquet", [f"question {i}" for i in range(512)])
    planned = config("recipe=ppo_gsm8k", f"data.train_files={rows}", f"data.val_files={rows}")
    said = describe(planned, plan_from_config(planned))
    assert re.match(
        r"PPO with a critic: 256 questions x G=1 = 256 .* 4 mini-batch\(es\) of 64 .* 2 steps and \d+ updates an epoch",
        said,
    )


def test_memory_and_checkpoints_hold_the_critic(config):
    ppo, grpo = config("recipe=ppo_gsm8k"), config("recipe=gsm8k", "trainer.n_gpus_per_node=1")
    memory = estimate_memory(ppo, QWEN)
    assert (memory.critic, memory.weights, memory.reference) == (12 * QWEN.parameters, 4 * QWEN.parameters, 0)
    assert estimate_memory(grpo, QWEN).critic == 0
    assert checkpoint_bytes(ppo, QWEN) == 2 * checkpoint_bytes(grpo, QWEN)


def test_the_engine_is_found_on_the_cpu_and_on_a_gpu(monkeypatch):
    for device, vendor in (("cpu", "cpu"), ("cuda", "nvidia"), ("cuda", "amd")):
        monkeypatch.setenv("VERL_ENGINE_DEVICE", device)
        monkeypatch.setenv("VERL_ENGINE_VENDOR", vendor)
        assert EngineRegistry.get_engine_cls("value_model", "fsdp2") is ValueEngine


def build_value_model(folder: Path) -> torch.nn.Module:
    """What an engine loads, before it is sharded."""
    model = HFModelConfig(path=str(folder), load_tokenizer=False, override_config={"attn_implementation": "sdpa"})
    model.model_type = "value_model"
    engine = ValueEngine(model, FSDPEngineConfig(strategy="fsdp2", model_dtype="fp32"), None, None)
    module = engine._build_module()
    assert model.model_type == "value_model"
    return module


def test_the_value_model_is_the_policys_with_a_head_of_one(tmp_path, one_rank):
    """verl 0.9.1 would ask for flash-attn; the head is the same in each run."""
    sizes = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1)
    policy = AutoModelForCausalLM.from_config(
        Qwen2Config(**sizes, intermediate_size=32, vocab_size=50, tie_word_embeddings=True)
    )
    policy.save_pretrained(tmp_path)
    built = [build_value_model(tmp_path) for _ in range(2)]
    head, body = (built[0].score.weight, built[0].model.state_dict())
    assert tuple(head.shape) == (1, 32) and torch.equal(head, built[1].score.weight)
    assert all(torch.equal(body[name], weight) for name, weight in policy.model.state_dict().items())
    assert built[0].config._attn_implementation == "sdpa"


def test_the_picture_of_the_batch_sizes_is_the_recipes(config, repo):
    recipe = config("recipe=ppo_gsm8k")
    plan, micro = plan_from_config(recipe), recipe.actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu
    picture = (repo / "docs/batch_sizes.md").read_text()
    for says in (
        f"{plan.questions} questions ",
        f"rows trained a step                   {plan.rows} ",
        f"{plan.mini_batches} of {plan.mini_batch_rows} rows",
        f"rows of a mini-batch on a GPU         {plan.mini_batch_rows // plan.dp_size}\n",
        f"{plan.mini_batch_rows // micro} of {micro} rows",
        f"the sum of the {plan.mini_batch_rows // micro} gradients",
    ):
        assert says in picture

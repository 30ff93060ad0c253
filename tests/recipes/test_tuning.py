"""The tuning recipes are the published settings, value by value."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from cppo_verl.preflight.plan import plan_from_config
from cppo_verl.preflight.refusals import refusals
from cppo_verl.preflight.sequence_length import length_faults
from cppo_verl.preflight.values import value_faults

GRPO, SMALL_PPO, PPO, LEAST = "qwen05b_grpo", "qwen05b_ppo", "qwen7b_ppo", "qwen7b_ppo_least_memory"
ACTOR, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
ROWS = {
    "actor_rollout_ref.model.path": (*["Qwen/Qwen2.5-0.5B-Instruct"] * 2, *["Qwen/Qwen2-7B-Instruct"] * 2),
    "algorithm.adv_estimator": ("grpo", "gae", "gae", "gae"),
    "critic.enable": (False, True, True, True),
    f"{ROLLOUT}.n": (2, 1, 5, 2),
    f"{ROLLOUT}.tensor_model_parallel_size": (1, 1, 2, 1),
    f"{ROLLOUT}.gpu_memory_utilization": (0.6, 0.6, 0.6, 0.5),
    f"{ACTOR}.use_dynamic_bsz": (True, True, True, True),
    f"{ACTOR}.ppo_max_token_len_per_gpu": (8000, 16384, 12000, 8192),
    f"{ROLLOUT}.log_prob_max_token_len_per_gpu": (8000, 16384, 12000, 8192),
    "actor_rollout_ref.ref.log_prob_max_token_len_per_gpu": (8000, 16384, 12000, 8192),
    f"{ACTOR}.fsdp_config.param_offload": (False, False, False, True),
    f"{ACTOR}.fsdp_config.optimizer_offload": (False, False, False, True),
    f"{ACTOR}.ppo_mini_batch_size": (64, 512, 64, 32),
    f"{ACTOR}.ppo_epochs": (1, 1, 1, 1),
    f"{ACTOR}.optim.lr": (1e-6,) * 4,
    f"{ACTOR}.use_kl_loss": (True, False, True, True),
    f"{ACTOR}.kl_loss_coef": (0.001,) * 4,
    f"{ACTOR}.kl_loss_type": ("low_var_kl",) * 4,
    f"{ACTOR}.loss_agg_mode": ("token-mean",) * 4,
    "data.train_batch_size": (256, 2048, 1024, 512),
    "data.max_prompt_length": (512,) * 4,
    "data.max_response_length": (192, 256, 1024, 1024),
    "trainer.n_gpus_per_node": (8,) * 4,
    "trainer.total_epochs": (15, 15, 10, 10),
    "trainer.test_freq": (15, 10, 5, 5),
}
"""Key to its value in each of the four."""
OF_THE_CRITIC = {
    "critic.use_dynamic_bsz": (True, True, True),
    "critic.ppo_max_token_len_per_gpu": (16384, 12000, 8192),
    "critic.forward_max_token_len_per_gpu": (16384, 12000, 8192),
    "critic.fsdp.param_offload": (False, False, True),
    "critic.fsdp.optimizer_offload": (False, False, True),
    "critic.optim.lr": (1e-5,) * 3,
    "critic.ppo_mini_batch_size": (512, 64, 32),
}


def composed(config, recipe, *overrides):
    made = config(f"recipe=tuning_{recipe}", *overrides)
    OmegaConf.resolve(made)
    return made


@pytest.mark.parametrize("number", range(4))
def test_published_settings(config, number):
    made = composed(config, (GRPO, SMALL_PPO, PPO, LEAST)[number])
    assert {key: OmegaConf.select(made, key) for key in ROWS} == {key: values[number] for key, values in ROWS.items()}
    if number:
        expected = {key: values[number - 1] for key, values in OF_THE_CRITIC.items()}
        assert {key: OmegaConf.select(made, key) for key in OF_THE_CRITIC} == expected
    assert not value_faults(made) and not list(length_faults(made))
    plan = plan_from_config(made)
    assert plan.sampled == plan.rows == made.data.train_batch_size * made.actor_rollout_ref.rollout.n
    assert plan.dp_size == 8


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("recipe", [GRPO, SMALL_PPO, PPO, LEAST])
def test_nothing_of_it_is_refused(config, recipe, device):
    assert refusals(composed(config, recipe, f"device={device}")) == []


def test_every_script_names_its_config_and_holds_nothing_else(repo):
    scripts = sorted((repo / "recipe/tuning").glob("*.sh"))
    assert [script.stem for script in scripts] == sorted([GRPO, SMALL_PPO, PPO, LEAST])
    for script in scripts:
        command = script.read_text().split("exec ")[1].replace("\\\n", "").split()
        assert command[3:] == [
            *("train", f"recipe=tuning_{script.stem}", f"trainer.experiment_name={script.stem}"),
            '"$@"',
        ]

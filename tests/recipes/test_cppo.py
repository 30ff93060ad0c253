"""recipe/cppo's settings are those of the published runs, one by one, or in the README's table of differences."""

from __future__ import annotations

import re

import pytest
from omegaconf import OmegaConf

from cppo_verl.hardware.fit_command import job_of
from cppo_verl.hardware.fitting import OFFLOADS, cache_tokens, idle_bytes, job_memory
from cppo_verl.hardware.memory import engine_bytes, gib
from cppo_verl.hardware.sync import shared_sync
from cppo_verl.preflight.plan import plan_from_config

ACTOR, ROLLOUT, REF = (f"actor_rollout_ref.{part}" for part in ("actor", "rollout", "ref"))
PUBLISHED = {
    "data.train_batch_size": 8,
    "data.max_prompt_length": 2048,
    "data.max_response_length": 2048,
    "data.shuffle": False,
    "data.filter_overlong_prompts": False,
    "data.truncation": "left",
    "algorithm.adv_estimator": "grpo",
    "algorithm.use_kl_in_reward": False,
    f"{ACTOR}.strategy": "fsdp",
    f"{ACTOR}.grad_clip": 1.0,
    f"{ACTOR}.ppo_mini_batch_size": 8,
    f"{ACTOR}.ppo_epochs": 2,
    f"{ACTOR}.use_dynamic_bsz": True,
    f"{ACTOR}.ppo_max_token_len_per_gpu": 4096,
    f"{ACTOR}.clip_ratio_low": 0.2,
    f"{ACTOR}.clip_ratio_high": 0.2,
    f"{ACTOR}.clip_ratio_c": 10.0,
    f"{ACTOR}.entropy_coeff": 0,
    f"{ACTOR}.use_kl_loss": True,
    f"{ACTOR}.kl_loss_coef": 0.04,
    f"{ACTOR}.kl_loss_type": "low_var_kl",
    f"{ACTOR}.loss_agg_mode": "seq-mean-token-mean",
    f"{ACTOR}.optim.lr": 1e-6,
    f"{ACTOR}.optim.lr_scheduler_type": "cosine",
    f"{ACTOR}.optim.lr_warmup_steps_ratio": 0.1,
    f"{ACTOR}.optim.weight_decay": 1e-4,
    "actor_rollout_ref.model.use_remove_padding": True,
    "actor_rollout_ref.model.enable_gradient_checkpointing": True,
    f"{REF}.log_prob_use_dynamic_bsz": True,
    f"{REF}.log_prob_max_token_len_per_gpu": 4096,
    f"{ROLLOUT}.name": "vllm",
    f"{ROLLOUT}.n": 16,
    f"{ROLLOUT}.temperature": 1.0,
    f"{ROLLOUT}.top_p": 1,
    f"{ROLLOUT}.top_k": -1,
    f"{ROLLOUT}.free_cache_engine": False,
    f"{ROLLOUT}.tensor_model_parallel_size": 1,
    f"{ROLLOUT}.gpu_memory_utilization": 0.65,
    f"{ROLLOUT}.max_num_seqs": 1024,
    f"{ROLLOUT}.max_num_batched_tokens": 4096,
    f"{ROLLOUT}.log_prob_use_dynamic_bsz": True,
    f"{ROLLOUT}.log_prob_max_token_len_per_gpu": 4096,
    f"{ROLLOUT}.val_kwargs.do_sample": False,
    f"{ROLLOUT}.val_kwargs.n": 1,
    "trainer.nnodes": 1,
    "trainer.total_epochs": 1,
    "trainer.test_freq": 50,
    "trainer.val_before_train": False,
    "trainer.save_freq": -1,
    "trainer.resume_mode": "disable",
    "trainer.max_actor_ckpt_to_keep": 1,
    "cppo.metric": "smallest",
    "cppo.mini_batch": "completions",
    "cppo.scope": "batch",
    "cppo.save_best": True,
}
"""The paper's hyperparameters, and those of the authors' scripts for verl."""
OF_THE_SET = {
    "gsm8k": {"actor_rollout_ref.model.path": "Qwen/Qwen2.5-1.5B-Instruct", "trainer.n_gpus_per_node": 2},
    "math": {"actor_rollout_ref.model.path": "Qwen/Qwen2.5-7B-Instruct", "trainer.n_gpus_per_node": 4},
}
ROW = re.compile(r"^\| `([\w.]+)` \| (\w+|both) \| `([^`]+)` \| `([^`]+)` \| .{20,}\|$", re.MULTILINE)
"""Of the README's table: option, recipe, published, here, why."""


@pytest.mark.parametrize("recipe", OF_THE_SET)
def test_settings_are_the_published_ones_or_listed(config, repo, recipe):
    made, published = config(f"recipe={recipe}", "cppo.pruning_rate=0.9375"), PUBLISHED | OF_THE_SET[recipe]
    here = {key: OmegaConf.select(made, key) for key in published}
    differences = {key: (value, here[key]) for key, value in published.items() if here[key] != value}
    listed = {
        key: (given, ours)
        for key, of, given, ours in ROW.findall((repo / "recipe/cppo/README.md").read_text())
        if of in (recipe, "both")
    }
    assert listed == {key: tuple(str(v).lower() for v in pair) for key, pair in differences.items()}


def test_an_engine_takes_a_step_of_the_published_table_in_one_wave(config):
    made = config("recipe=gsm8k", "cppo.pruning_rate=0.9375")
    plan = plan_from_config(made)
    assert plan.sampled // plan.dp_size == made.actor_rollout_ref.rollout.max_num_seqs == 1024


def test_the_embedded_default_is_what_it_was_measured_with(config):
    made = config("recipe=toy", "device=cpu")
    rollout = made.actor_rollout_ref.rollout
    assert (rollout.max_num_seqs, rollout.max_num_batched_tokens, made.data.shuffle) == (256, 8192, True)


@pytest.mark.parametrize("recipe", ["math", "ppo_gsm8k_7b", "tuning_qwen7b_ppo", "tuning_qwen7b_ppo_least_memory"])
def test_a_bucket_of_the_weight_sync_holds_the_embedding_of_7b(config, recipe):
    bucket = config(f"recipe={recipe}").actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes
    assert bucket * 2**20 >= 4 * 152_064 * 3584


@pytest.mark.parametrize(("column", "recipe", "shape"), [(1, "gsm8k", "qwen2.5-1.5b"), (2, "math", "qwen2.5-7b")])
def test_the_memory_that_the_readme_names_is_the_estimate(config, repo, column, recipe, shape):
    made = config(f"recipe={recipe}")
    share, asked = made.actor_rollout_ref.rollout.gpu_memory_utilization, made.data
    job = job_of(shape, made.trainer.n_gpus_per_node, 80, 8, asked.max_prompt_length, asked.max_response_length)
    update, percent = job_memory(job, OFFLOADS[0], made.actor_rollout_ref.actor.ppo_max_token_len_per_gpu), share * 100
    sync = shared_sync(job.model, 1, idle_bytes(job, OFFLOADS[0]))
    assert sync.buckets == made.actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes * 2**20
    estimate = [
        " + ".join(map(gib, (update.weights, update.gradients, update.optimizer))),
        " + ".join(map(gib, (update.gathered, update.activations, max(update.layer, update.logits)))),
        f"**{gib(update.total)}**",
        gib(job_memory(job, OFFLOADS[0], 32768).total),
        gib(idle_bytes(job, OFFLOADS[0])),
        " + ".join(map(gib, vars(sync).values())) + f" = {gib(sync.total)}",
        f"{80 * share:.0f} ({share})",
        f"**{gib(idle_bytes(job, OFFLOADS[0]) + 80 * share * 2**30)}**",
        f"{gib(engine_bytes(job.model, 1))}; {cache_tokens(job, 1, round(percent)) / 1e6:.2f} million",
    ]
    table = (repo / "recipe/cppo/README.md").read_text().partition("| GiB a GPU of 80 |")[2].partition("\n\n")[0]
    assert [line.split("|")[column + 1].strip() for line in table.splitlines()[2:]] == estimate

"""Every shipped config composes and plans; every refusal says what would work."""

import re
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

import cppo_verl
import cppo_verl.train
from cppo_verl.config import ConfigError
from cppo_verl.preflight import check
from cppo_verl.trainer.checks import check_micro_batches, plan_from_config, refusals

CONF = str(Path(cppo_verl.__file__).parent / "conf")


@pytest.fixture
def config(repo):
    """`config("key=value", ...)`: the config that `cppo_verl.train` would compose."""

    def composed(*overrides: str) -> DictConfig:
        with initialize_config_dir(CONF, version_base=None):
            path = f"hydra.searchpath=[pkg://verl.trainer.config,file://{repo}/recipe/cppo/config]"
            return compose("cppo_trainer", overrides=[path, *overrides])

    return composed


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("recipe", ["gsm8k", "math", "toy"])
def test_recipes_compose_resolve_and_plan(config, recipe, device):
    resolved = config(f"recipe={recipe}", f"device={device}", "cppo.pruning_rate=0.75")
    OmegaConf.resolve(resolved)
    plan = plan_from_config(resolved)
    batch = {"toy": 4}.get(recipe, 8)
    assert (plan.keep, plan.questions, plan.rows, plan.mini_batch_rows) == (4, 4 * batch, 16 * batch, 16 * batch)
    assert refusals(resolved) == []
    assert resolved.trainer.device == {"cpu": "cpu", "gpu": "cuda"}[device]
    assert resolved.actor_rollout_ref.model.override_config.attn_implementation == "sdpa"


def test_published_settings(config):
    """The table of hyperparameters of the published verl runs, as far as it is not the plan."""
    c = config("recipe=gsm8k")
    actor, rollout = c.actor_rollout_ref.actor, c.actor_rollout_ref.rollout
    assert (rollout.n, rollout.temperature, rollout.gpu_memory_utilization) == (16, 1.0, 0.65)
    assert rollout.tensor_model_parallel_size == 1
    assert (c.data.train_batch_size, actor.ppo_mini_batch_size, actor.ppo_epochs) == (8, 8, 2)
    assert (c.data.max_prompt_length, c.data.max_response_length) == (2048, 2048)
    assert (actor.clip_ratio_low, actor.clip_ratio_high, actor.clip_ratio_c) == (0.2, 0.2, 10)
    assert (actor.use_kl_loss, actor.kl_loss_coef, actor.kl_loss_type) == (True, 0.04, "low_var_kl")
    assert actor.loss_agg_mode == "seq-mean-token-mean"
    assert (actor.entropy_coeff, actor.use_dynamic_bsz) == (0, True)
    for stage in (actor.ppo_max_token_len_per_gpu, rollout.log_prob_max_token_len_per_gpu):
        assert stage == 4096
    assert c.actor_rollout_ref.ref.log_prob_max_token_len_per_gpu == 4096
    optim = actor.optim
    assert (optim.lr, optim.lr_scheduler_type, optim.lr_warmup_steps_ratio) == (1e-6, "cosine", 0.1)
    assert (optim.weight_decay, c.trainer.total_epochs, c.trainer.test_freq) == (1e-4, 1, 50)
    assert (c.trainer.n_gpus_per_node, config("recipe=math").trainer.n_gpus_per_node) == (2, 4)
    assert config("recipe=math").actor_rollout_ref.model.path == "Qwen/Qwen2.5-7B-Instruct"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("algorithm.adv_estimator=gae", "adv_estimator=gae: CPPO prunes by an advantage that is known before"),
        ("algorithm.use_kl_in_reward=true", "use actor_rollout_ref.actor.use_kl_loss=true"),
        ("critic.enable=true", "CPPO has no critic"),
        ("trainer.use_v1=true", "set trainer.use_v1=false"),
        ("trainer.critic_warmup=3", "critic_warmup must be 0"),
        ("distillation.enabled=true", "distillation.enabled=true is not supported"),
        ("reward.reward_model.enable=true", "needs reward.reward_model.enable_resource_pool=true"),
    ],
)
def test_refusals(config, override, says):
    (message,) = refusals(config("recipe=gsm8k", override))
    assert says in message


def test_fixed_micro_batches_must_divide_the_rows(config):
    fixed = ("actor_rollout_ref.actor.use_dynamic_bsz=false", "cppo.pruning_rate=0.75", "cppo.allocation=false")
    size = "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu"
    fine = config("recipe=gsm8k", *fixed, f"{size}=8")
    check_micro_batches(fine, plan_from_config(fine))
    faulty = config("recipe=gsm8k", *fixed, f"{size}=12")
    with pytest.raises(ConfigError, match="=12 does not divide the 16 rows of a rank; nearest that works: 8"):
        check_micro_batches(faulty, plan_from_config(faulty))
    (message,) = refusals(config("recipe=gsm8k", fixed[0], "cppo.zero_variance=drop"))
    assert "use_dynamic_bsz=true" in message


def test_replay_with_further_rounds_is_refused(config):
    drop = ("skip.rollout.enable=true", "cppo.zero_variance=drop")
    (message,) = refusals(config("recipe=gsm8k", *drop))
    assert "cppo.max_gen_rounds=1" in message
    assert refusals(config("recipe=gsm8k", *drop, "cppo.max_gen_rounds=1")) == []


def test_data_parallel_size(config):
    sharded = config("recipe=math", "actor_rollout_ref.actor.ulysses_sequence_parallel_size=2")
    assert plan_from_config(sharded).dp_size == 2
    assert plan_from_config(config("recipe=math", "trainer.nnodes=2")).dp_size == 8
    with pytest.raises(ConfigError, match="4 devices do not split into shards of 3"):
        plan_from_config(config("recipe=math", "actor_rollout_ref.actor.ulysses_sequence_parallel_size=3"))


def test_preflight_lists_every_fault_at_once(config, tmp_path):
    faulty = config(
        "recipe=gsm8k",
        "cppo.pruning_rate=0.9",
        "algorithm.use_kl_in_reward=true",
        "trainer.n_gpus_per_node=64",
        f"actor_rollout_ref.model.path={tmp_path}/nowhere",
    )
    with pytest.raises(ConfigError) as caught:
        check(faulty)
    lines = str(caught.value).splitlines()
    for says in (
        r"P=0\.9, G=16: .* Nearest that works: cppo\.pruning_rate=0\.875",
        r"algorithm\.use_kl_in_reward=true",
        r"data\.train_files: .* is not there; run: python examples/data_preprocess/gsm8k\.py",
        r"actor_rollout_ref\.model\.path: no model at .*nowhere",
        r"trainer\.n_gpus_per_node=64 but this machine has",
    ):
        assert any(re.search(says, line) for line in lines), f"{says} not in {lines}"


def test_preflight_of_too_little_data(config, tmp_path):
    pd.DataFrame({"prompt": ["q"] * 5}).to_parquet(tmp_path / "few.parquet")
    few = f"{tmp_path}/few.parquet"
    small = config("recipe=gsm8k", "device=cpu", f"data.train_files={few}", f"data.val_files={few}")
    small.actor_rollout_ref.model.path = _empty_model(tmp_path)
    with pytest.raises(ConfigError, match="a step takes 8 questions but the training data hold 5"):
        check(small)


def test_save_best_mode_validates_on_held_out_questions(config):
    best = config("recipe=gsm8k", "mode=save_best")
    assert best.cppo.save_best and best.data.val_files == "data/gsm8k/validation.parquet"
    assert best.trainer.test_freq == best.trainer.save_freq == 50
    with pytest.raises(ConfigError, match=r"data/gsm8k/validation\.parquet is not there; .* --validation 500"):
        check(best)


@pytest.mark.parametrize("freqs", [(-1, 50), (50, -1), (20, 50), (100, 50)])
def test_save_best_needs_a_checkpoint_at_every_validation(config, freqs):
    save, test = freqs
    override = (f"trainer.save_freq={save}", f"trainer.test_freq={test}")
    with pytest.raises(ConfigError, match=rf"trainer\.save_freq={save} must divide trainer\.test_freq={test}"):
        check(config("recipe=gsm8k", "mode=save_best", *override))


def test_save_best_refuses_to_choose_on_test_questions(config, tmp_path):
    rows = pd.DataFrame({"prompt": ["q"] * 8, "extra_info": [{"split": "train"}] * 7 + [{"split": "test"}]})
    rows.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(ConfigError, match=r"would choose the checkpoint on test questions: .*rows\.parquet"):
        check(config("recipe=gsm8k", "mode=save_best", f"data.val_files={tmp_path}/rows.parquet"))


def _empty_model(folder: Path) -> str:
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    return str(folder)

"""Every shipped config composes and plans; every refusal says what would work."""

import re

import pytest
import torch
from omegaconf import OmegaConf
from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY, agg_loss, kl_penalty_forward
from verl.utils.tracking import Tracking
from verl.workers.config import FSDPOptimizerConfig
from verl.workers.rollout.base import _ROLLOUT_REGISTRY
from verl_rows import write_model, write_rows

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.hardware.model_files import num_positions
from cppo_verl.preflight.check import check
from cppo_verl.preflight.choices import CHOICES
from cppo_verl.preflight.data import epoch_faults
from cppo_verl.preflight.plan import cycle_from_config, micro_batch_faults, plan_from_config
from cppo_verl.preflight.refusals import refusals
from cppo_verl.preflight.sequence_length import length_faults
from cppo_verl.rewards.own import function_fault
from cppo_verl.trainer import first_pass, losses
from cppo_verl.trainer.launch import leave_counts_to_cluster

SKIPPING = "cppo.skip_old_log_prob=true actor_rollout_ref.actor.ppo_epochs=1"


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("recipe", ["gsm8k", "math", "toy"])
def test_recipes_compose_resolve_and_plan(config, recipe, device):
    resolved = config(f"recipe={recipe}", f"device={device}", "cppo.pruning_rate=0.75")
    OmegaConf.resolve(resolved)
    plan = plan_from_config(resolved)
    assert (plan.keep, plan.questions, plan.rows, plan.mini_batch_rows) == (4, 32, 128, 128)
    assert refusals(resolved) == []
    assert resolved.trainer.device == {"cpu": "cpu", "gpu": "cuda"}[device]
    assert resolved.actor_rollout_ref.model.override_config.attn_implementation == "sdpa"


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_cluster_is_joined_only_where_one_is_named(config, device, monkeypatch):
    """On the cpu, not one that `ray start` left behind: Ray would refuse the counts that device=cpu gives."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    own = config("recipe=toy", f"device={device}")
    before = OmegaConf.to_container(own.ray_kwargs.ray_init, resolve=True)
    assert before.get("address") == {"cpu": "local", "gpu": None}[device]
    leave_counts_to_cluster(own.ray_kwargs.ray_init)
    assert OmegaConf.to_container(own.ray_kwargs.ray_init, resolve=True) == before

    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    joined = config("recipe=toy", f"device={device}").ray_kwargs.ray_init
    leave_counts_to_cluster(joined)
    assert joined.get("address") == {"cpu": "10.0.0.1:6379", "gpu": None}[device]
    assert (joined.num_cpus, joined.get("num_gpus")) == (None, None)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("algorithm.adv_estimator=gae", "algorithm.adv_estimator=gae with critic.enable=false: for PPO set"),
        ("algorithm.adv_estimator=remax", "adv_estimator=remax needs a greedy completion of each question"),
        ("algorithm.adv_estimator=reinforce_plus_plus", "adv_estimator=reinforce_plus_plus needs the mean over the"),
        (
            "algorithm.adv_estimator=reinforce_plus_plus_baseline cppo.metric=unbiased",
            "its whitening moves the advantages by which",
        ),
        ("algorithm.adv_estimator=optimal_token_baseline", "adv_estimator=optimal_token_baseline needs a forward"),
        (
            "algorithm.adv_estimator=tir_optimal_token_baseline",
            "adv_estimator=tir_optimal_token_baseline needs a forward",
        ),
        ("algorithm.adv_estimator=gdpo", "adv_estimator=gdpo needs several rewards that are normalised over the whole"),
        ("algorithm.adv_estimator=mine", "adv_estimator=mine needs more than CPPO knows of it"),
        ("algorithm.use_kl_in_reward=true", "use actor_rollout_ref.actor.use_kl_loss=true"),
        ("critic.enable=true", "algorithm.adv_estimator=grpo with critic.enable=true: for PPO set"),
        ("trainer.use_v1=true trainer.v1.trainer_mode=sync", "is not one of cppo_sync, cppo_colocate_async"),
        (
            "trainer.use_v1=true trainer.v1.sampler.custom_sampler.path=mine.py",
            "takes questions from a queue of its own",
        ),
        ("trainer.use_v1=true ++algorithm.filter_groups.enable=true", "use cppo.zero_variance=drop"),
        ("algorithm.filter_groups.enable=true", "use cppo.zero_variance=drop"),
        ("data.gen_batch_size=16", "data.gen_batch_size=16 is not read: a step takes as many questions as fill"),
        ("trainer.use_v1=true skip.rollout_tq.enable=true", "replays whole batches"),
        ("trainer.critic_warmup=3", "critic_warmup must be 0"),
        ("actor_rollout_ref.actor.checkpoint.async_save=true", "taken for complete while it is written"),
        ("trainer.del_local_ckpt_after_load=true", "the checkpoint that the next start would need"),
        ("++trainer.remove_previous_ckpt_in_save=true", "set trainer.max_actor_ckpt_to_keep=1"),
        (
            "trainer.max_actor_ckpt_to_keep=null trainer.max_critic_ckpt_to_keep=1",
            "is kept whole, as trainer.max_actor_ckpt_to_keep=null says; set both to 1",
        ),
        (
            "trainer.max_actor_ckpt_to_keep=2 trainer.max_critic_ckpt_to_keep=1",
            "trainer.max_actor_ckpt_to_keep=2 says; set both to 1, or trainer.max_critic_ckpt_to_keep=null",
        ),
        ("trainer.val_only=true trainer.val_before_train=false", "would train; set trainer.val_before_train=true"),
        ("distillation.enabled=true", "distillation.enabled=true is not supported"),
        ("reward.reward_model.enable=true", "needs reward.reward_model.enable_resource_pool=true"),
        ("cppo.skip_old_log_prob=true", "actor_rollout_ref.actor.ppo_epochs=2 must be 1"),
        (
            f"{SKIPPING} actor_rollout_ref.actor.ppo_mini_batch_size=4",
            "actor_rollout_ref.actor.ppo_mini_batch_size=4 must be data.train_batch_size=8",
        ),
        (
            f"{SKIPPING} cppo.pruning_rate=0.5 cppo.mini_batch=questions",
            "cppo.mini_batch=questions with cppo.pruning_rate",
        ),
        (f"{SKIPPING} ++algorithm.rollout_correction.rollout_is=token", "rollout_correction.rollout_is=token compares"),
        (f"{SKIPPING} actor_rollout_ref.actor.policy_loss.loss_mode=mine", "policy_loss.loss_mode=mine"),
        (
            f"{SKIPPING} actor_rollout_ref.actor.policy_loss.loss_mode=bypass_mode",
            "takes the old log-probs for the rollout's",
        ),
        (
            f"{SKIPPING} actor_rollout_ref.actor.policy_loss.loss_mode=bypass_mode "
            "algorithm.rollout_correction.bypass_mode=true",
            "leaves out what algorithm.rollout_correction.bypass_mode=True compares with",
        ),
        (f"{SKIPPING} ++actor_rollout_ref.actor.router_replay.mode=R2", "router_replay.mode=R2 notes the routes"),
    ],
)
def test_refusals(config, override, says):
    (message,) = refusals(config("recipe=gsm8k", *override.split()))
    assert says in message


def test_steps_of_one_pass_over_one_mini_batch_may_skip_the_old_forward(config):
    assert refusals(config("recipe=gsm8k", *SKIPPING.split())) == []
    by_questions = "cppo.pruning_rate=0.5", "cppo.mini_batch=questions", "cppo.allocation=false"
    assert refusals(config("recipe=gsm8k", *SKIPPING.split(), *by_questions)) == []


def test_mini_batches_of_as_many_questions(config):
    """Of the published run at P = .75: 4 updates of 8 questions and 32 completions, in a step of 32 questions."""
    by_questions = "cppo.pruning_rate=0.75", "cppo.mini_batch=questions"
    plan = plan_from_config(config("recipe=gsm8k", *by_questions))
    assert (plan.questions, plan.rows, plan.mini_batches, plan.mini_batch_rows) == (32, 128, 4, 32)
    cycles = "trainer.use_v1=true", "mode=separate_async", "actor_rollout_ref.actor.ppo_mini_batch_size=4"
    cycle = cycle_from_config(
        config("recipe=gsm8k", *by_questions, *cycles, "trainer.v1.separate_async.parameter_sync_step=2")
    )
    assert (cycle.questions, cycle.rows, cycle.mini_batches, cycle.mini_batch_rows) == (16, 64, 4, 16)
    smallest = "cppo.pruning_rate=0.9375", by_questions[1], "actor_rollout_ref.actor.ppo_mini_batch_size=1"
    with pytest.raises(ConfigError, match=r"does not split over 2 ranks\. Nearest .*: cppo\.pruning_rate=0\.875"):
        plan_from_config(config("recipe=gsm8k", *smallest))


def test_fixed_micro_batches_must_divide_the_rows(config):
    fixed = ("actor_rollout_ref.actor.use_dynamic_bsz=false", "cppo.pruning_rate=0.75", "cppo.allocation=false")
    size = "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu"
    fine = config("recipe=gsm8k", *fixed, f"{size}=8")
    assert not list(micro_batch_faults(fine, plan_from_config(fine)))
    faulty = config(
        "recipe=gsm8k",
        *fixed,
        f"{size}=12",
        "actor_rollout_ref.ref.log_prob_use_dynamic_bsz=false",
        "actor_rollout_ref.rollout.log_prob_use_dynamic_bsz=false",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=7",
    )
    actor, rollout, ref = micro_batch_faults(faulty, plan_from_config(faulty))
    assert "=12 does not divide the 16 rows of a rank; nearest that works: 8" in actor
    assert "=7 does not divide the 16 rows of a rank; nearest that works: 4" in rollout
    assert "=None does not divide the 16 rows of a rank; nearest that works: 1" in ref
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
        "trainer.total_epochs=0",
        "trainer.resume_from_path=5",
        "actor_rollout_ref.rollout.max_model_len=100",
        "actor_rollout_ref.rollout.tensor_model_parallel_size=48",
        "reward.custom_reward_function.path=pkg://no.such.module",
        f"trainer.default_local_dir={__file__}/run",
    )
    with pytest.raises(ConfigError) as caught:
        check(faulty)
    lines = str(caught.value).splitlines()
    for says in (
        r"algorithm\.use_kl_in_reward=true",
        r"P=0\.9, G=16: .* Nearest that works: cppo\.pruning_rate=0\.875",
        r"data\.train_files: .* is not there; run: python examples/data_preprocess/gsm8k\.py",
        r"trainer\.total_epochs=0 must be",
        r"trainer\.resume_from_path=5 must be a text, or null",
        r"max_model_len=100 is less than .* = 4096",
        r"tensor_model_parallel_size=48 does not divide the 64 devices; nearest that works: 32",
        r"reward\.custom_reward_function: there is no module no\.such\.module",
        r"trainer\.default_local_dir=.* is a file",
        r"actor_rollout_ref\.model\.path: no model at .*nowhere",
    ):
        assert any(re.search(says, line) for line in lines), f"{says} not in {lines}"


def test_wrong_numbers_hide_no_other_faults(config):
    faulty = (
        "cppo.pruning_rate=0.9",
        "cppo.metric=smalest",
        "cppo.seed=x",
        "+cppo.metrics=random",
        "trainer.save_freq=0",
        "critic.enable=true",
    )
    with pytest.raises(ConfigError) as caught:
        check(config("recipe=gsm8k", *faulty))
    for says in (
        "cppo.metric='smalest'",
        "cppo.seed='x'",
        "unknown option cppo.metrics; did you mean cppo.metric?",
        "trainer.save_freq=0",
        "critic.enable=true",
        "data.train_files",
    ):
        assert says in str(caught.value)
    with pytest.raises(ConfigError, match=r"P=0\.9, G=16"):
        check(config("recipe=gsm8k", "cppo.pruning_rate=0.9", "trainer.save_freq=0"))


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("actor_rollout_ref.actor.loss_agg_mode=token-men", "did you mean token-mean?"),
        ("actor_rollout_ref.actor.kl_loss_type=k4", "kl_loss_type='k4' is not one of kl, "),
        ("actor_rollout_ref.actor.strategy=fsdp3", "actor.strategy='fsdp3' is not one of fsdp, "),
        ("actor_rollout_ref.rollout.name=vlm", "did you mean vllm?"),
        ("trainer.logger=[console,fil]", "trainer.logger='fil' is not one of .*; did you mean file?"),
        ("trainer.resume_mode=autoo", "did you mean auto?"),
        ("trainer.default_hdfs_dir=hdfs://runs", "cannot go on from a checkpoint in HDFS"),
        ("actor_rollout_ref.rollout.max_model_len=100", "max_model_len=100 is less than .* = 4096"),
        ("reward.custom_reward_function.path=nothing.py", "nothing.py is not there; give a Python file"),
        ("actor_rollout_ref.actor.optim.lr=inf", "optim.lr=inf must be a number above 0"),
        ("reward.num_workers=0", "reward.num_workers=0 must be a whole number from 1"),
        ("actor_rollout_ref.actor.optim.lr_scheduler_type=linear", "='linear' is not one of constant, cosine"),
        ("actor_rollout_ref.actor.policy_loss.loss_mode=gpso", "did you mean gspo?"),
        ("actor_rollout_ref.actor.checkpoint.save_contents=[model,optimiser,extra]", "did you mean optimizer?"),
        ("actor_rollout_ref.rollout.dtype=bf16", "rollout.dtype='bf16' is not one of auto, .*; did you mean bfloat16?"),
        ("actor_rollout_ref.rollout.name=trtllm", "rollout.name=trtllm, but tensorrt_llm is not installed"),
        ("actor_rollout_ref.actor.strategy=megatron", "needs actor_rollout_ref.actor.megatron.*model_engine=megatron"),
        (
            "actor_rollout_ref.actor.checkpoint.save_contents=[model]",
            "save_contents=.model. leaves out optimizer, extra",
        ),
        (
            "actor_rollout_ref.actor.checkpoint.load_contents=[model,extra]",
            r"load_contents=\[model,extra\] leaves out optimizer .*; set it to \[model,extra,optimizer\]",
        ),
    ],
)
def test_what_verl_would_only_find_after_the_start(config, override, says):
    with pytest.raises(ConfigError, match=says):
        check(config("recipe=gsm8k", override))


def test_words_are_those_that_verl_knows():
    """Of verl's tables where it has one."""
    assert set(CHOICES["trainer.logger"]) == {*Tracking.supported_backend, "tracking"}
    assert set(CHOICES["actor_rollout_ref.actor.policy_loss.loss_mode"]) == {
        loss for loss in POLICY_LOSS_REGISTRY if not loss.startswith((first_pass.PREFIX, losses.WHOLE))
    }
    for kind in CHOICES["actor_rollout_ref.actor.optim.lr_scheduler_type"]:
        FSDPOptimizerConfig(lr=1e-6, lr_scheduler_type=kind)
    assert set(CHOICES["actor_rollout_ref.rollout.name"]) == {
        name for name, mode in _ROLLOUT_REGISTRY if mode == "async"
    }
    for kind in CHOICES["actor_rollout_ref.actor.kl_loss_type"]:
        kl_penalty_forward(torch.zeros(1), torch.zeros(1), kind.removesuffix("+"))
    for mode in CHOICES["actor_rollout_ref.actor.loss_agg_mode"]:
        agg_loss(torch.zeros(1, 1), torch.ones(1, 1), mode, loss_scale_factor=1)


def test_a_reward_function_is_looked_for_in_its_file(config, tmp_path):
    file = tmp_path / "reward.py"
    options = ("recipe=gsm8k", f"reward.custom_reward_function.path={file}", "reward.custom_reward_function.name=score")
    for content, says in {
        "def scor(*args): pass": "name='score' is not one of scor; did you mean scor",
        "def score(": "cannot be read as Python",
        "1 + 1": "defines nothing",
    }.items():
        file.write_text(content)
        with pytest.raises(ConfigError, match=says):
            check(config(*options))
    for content in ("def score(): pass", "from mine import score", "score = partial(mine)", "from mine import *"):
        file.write_text(content)
        assert function_fault(str(file), "score") is None


def test_a_sequence_longer_than_the_model_takes_is_refused(config, tmp_path):
    write_model(tmp_path, max_position_embeddings=1024)
    rows = write_rows(tmp_path / "rows.parquet", list("abcdefgh"))
    files = (f"data.train_files={rows}", f"data.val_files={rows}")
    short = ("recipe=gsm8k", "data.max_prompt_length=512", f"actor_rollout_ref.model.path={tmp_path}", *files)
    with pytest.raises(ConfigError, match=r"= 2560 is more than the 1024 positions .* data\.max_response_length=512"):
        check(config(*short))
    stretched = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
    assert num_positions(str(tmp_path)) == 1024
    write_model(tmp_path, max_position_embeddings=1024, rope_scaling=stretched)
    assert num_positions(str(tmp_path)) is None, "vLLM reckons with the factor"


def test_a_model_without_weights_is_refused(config, tmp_path):
    model = str(write_model(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"holds a config but no weights"):
        check(config("recipe=gsm8k", f"actor_rollout_ref.model.path={model}"))


def test_a_tokenizer_that_brings_code_is_refused_unless_trusted(config, tmp_path):
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["own.Tokenizer", null]}}')
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    model = ("recipe=gsm8k", "device=cpu", f"actor_rollout_ref.model.path={tmp_path}")
    with pytest.raises(ConfigError, match=r"brings code of its own .*trust_remote_code=true"):
        check(config(*model))
    with pytest.raises(ConfigError) as caught:  # the data are not there
        check(config(*model, "actor_rollout_ref.model.trust_remote_code=true"))
    assert "brings code" not in str(caught.value)


def test_devices_are_counted_when_nothing_else_is_wrong(config, tmp_path):
    """Counting them imports torch, which takes longer than everything else together."""
    rows = write_rows(tmp_path / "rows.parquet", [f"question {i}" for i in range(64)])
    files = (f"data.train_files={rows}", f"data.val_files={rows}", "trainer.n_gpus_per_node=64")
    many = config("recipe=gsm8k", *files, f"actor_rollout_ref.model.path={write_model(tmp_path)}")
    many.data.train_batch_size = many.actor_rollout_ref.actor.ppo_mini_batch_size = 8
    with pytest.raises(ConfigError, match=r"trainer\.n_gpus_per_node=64 but this machine has"):
        check(many)


def test_preflight_of_too_little_data(config, tmp_path):
    few = write_rows(tmp_path / "few.parquet", list("abcde"))
    small = config("recipe=gsm8k", "device=cpu", f"data.train_files={few}", f"data.val_files={few}")
    small.actor_rollout_ref.model.path = str(write_model(tmp_path))
    with pytest.raises(ConfigError, match="a step takes 8 questions but the training data hold 5"):
        check(small)


def test_more_steps_than_the_data_have_are_refused(config, tmp_path):
    """The run would end without them, and with a learning rate on its way."""
    rows = write_rows(tmp_path / "rows.parquet", [f"question {i}" for i in range(50)])
    options = "device=cpu", f"data.train_files={rows}", f"data.val_files={rows}", "trainer.total_epochs=2"
    long = config("recipe=gsm8k", *options, "trainer.total_training_steps=13")  # of 8 questions
    long.actor_rollout_ref.model.path = str(write_model(tmp_path))
    with pytest.raises(ConfigError, match=r"2 epoch\(s\) .* are 12 steps.* or trainer\.total_epochs to 3"):
        check(long)
    long.trainer.total_epochs = 3
    assert list(epoch_faults(long)) == []


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
    write_rows(tmp_path / "rows.parquet", list("ab"), extra_info=[{"split": "train"}, {"split": "test"}])
    with pytest.raises(ConfigError, match=r"would choose the checkpoint on test questions: .*rows\.parquet"):
        check(config("recipe=gsm8k", "mode=save_best", f"data.val_files={tmp_path}/rows.parquet"))


def test_bad_data_is_said_before_anything_starts(config, tmp_path):
    good, bad = write_rows(tmp_path / "good.parquet", list("ab")), write_rows(tmp_path / "bad.parquet", ["a", " "])
    given = config("recipe=gsm8k", "device=cpu", f"data.train_files=[{good},{tmp_path}]", f"data.val_files={bad}")
    with pytest.raises(ConfigError) as caught:
        check(given)
    assert re.search(r"data\.train_files: .* is a folder \(bad\.parquet, good\.parquet\)", str(caught.value))
    assert re.search(r"data\.val_files: .*bad\.parquet: an empty question in row 2", str(caught.value))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("null", "trainer.resume_from_path=None is no checkpoint"),
        ("runs/one", "trainer.resume_from_path=runs/one is no checkpoint; give the path of a global_step_N"),
        ("{}/global_step_9", "global_step_9 is not there"),
        ("{}/global_step_2", "global_step_2 is not complete (it has no complete.json)"),
    ],
)
def test_a_checkpoint_to_resume_from_is_checked(config, tmp_path, path, says):
    (tmp_path / "global_step_2").mkdir()
    path = path.format(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(says)):
        check(config("recipe=gsm8k", "trainer.resume_mode=resume_path", f"trainer.resume_from_path={path}"))


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("trainer.n_gpus_per_node=0", "trainer.n_gpus_per_node=0 must be a whole number from 1 to 1024; nearest: 1"),
        ("trainer.n_gpus_per_node=two", "trainer.n_gpus_per_node='two' must be a whole number from 1"),
        ("trainer.test_freq=0", "trainer.test_freq=0 must be a whole number from 1, or -1"),
        ("actor_rollout_ref.rollout.n=1.5", "actor_rollout_ref.rollout.n=1.5 must be a whole number from 1"),
        ("actor_rollout_ref.rollout.temperature=0", "rollout.temperature=0 must be a number above 0"),
        ("actor_rollout_ref.rollout.gpu_memory_utilization=1.2", "must be a number above 0 to 1"),
        ("actor_rollout_ref.actor.optim.lr=-1e-6", "optim.lr=-1e-06 must be a number above 0"),
        ("actor_rollout_ref.actor.optim.lr=nan", "optim.lr=nan must be a number above 0"),
        ("actor_rollout_ref.actor.ppo_epochs=true", "actor.ppo_epochs=True must be a whole number from 1"),
        ("data.train_max_samples=null", "data.train_max_samples=None must be a whole number from 1, or -1"),
    ],
)
def test_numbers_out_of_range(config, override, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        check(config("recipe=gsm8k", override))


def test_sequences_that_no_micro_batch_holds_are_refused(config):
    """verl would stop in the middle of a run, when the first completion of that length comes."""
    longer = config(
        "recipe=gsm8k", "data.max_response_length=4096", "actor_rollout_ref.ref.log_prob_use_dynamic_bsz=false"
    )
    actor, rollout = length_faults(longer)
    assert "ppo_max_token_len_per_gpu=4096 is less than the longest sequence" in actor
    assert "data.max_response_length = 6144; set it to 6144 or more" in actor
    assert "rollout.log_prob_max_token_len_per_gpu=4096" in rollout
    (sharded, _, _) = length_faults(config("recipe=gsm8k", "data.max_response_length=8192", SHARDS))
    assert "10240 over 2 shards; set it to 5120 or more" in sharded


def test_the_rollout_must_split_over_the_devices(config):
    (message,) = length_faults(config("recipe=gsm8k", "actor_rollout_ref.rollout.tensor_model_parallel_size=4"))
    assert "tensor_model_parallel_size=4 does not divide the 2 devices; nearest that works: 2" in message


SHARDS = "actor_rollout_ref.actor.ulysses_sequence_parallel_size=2"

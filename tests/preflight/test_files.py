"""Values of the wrong kind and files that are not what they should be end in a message that names them."""

from __future__ import annotations

import shutil

import pytest
from omegaconf import OmegaConf
from verl_rows import write_model, write_rows

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.step_plan import StepPlan
from cppo_verl.hardware.estimates import bytes_of_checkpoints, checkpoints_at_most, read_model
from cppo_verl.preflight import check as preflight_check
from cppo_verl.preflight.check import check
from cppo_verl.preflight.plan import micro_batch_faults
from cppo_verl.preflight.prepare import prepare

REWARD_MODEL = "reward.reward_model"
NOWHERE = ("data.train_files=nowhere", "data.val_files=nowhere", "actor_rollout_ref.model.path=./nowhere")


@pytest.fixture
def ready(config, tmp_path):
    """`ready("key=value", ...)`: a config that `check` finds nothing in, but for what is given."""
    rows, model = write_rows(tmp_path / "rows.parquet", [f"question {i}" for i in range(100)]), write_model(tmp_path)
    files = (f"data.train_files={rows}", f"data.val_files={rows}", f"actor_rollout_ref.model.path={model}")
    given = ("recipe=toy", "device=cpu", *files, f"trainer.default_local_dir={tmp_path}/run")
    return lambda *overrides: config(*given, *overrides)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("data.val_files=null", "data.val_files=None must be a text, or a list of texts, not empty"),
        ("data.val_files=[]", "data.val_files=[] must be a text, or a list of texts, not empty"),
        ("data.train_files=5", "data.train_files=5 must be a text"),
        ("data.prompt_key=5", "data.prompt_key=5 must be a text"),
        ("actor_rollout_ref.model.path=null", "actor_rollout_ref.model.path=None must be a text"),
        ("actor_rollout_ref.model.path=5", "actor_rollout_ref.model.path=5 must be a text"),
        ("actor_rollout_ref.model.trust_remote_code=maybe", "trust_remote_code='maybe' must be true or false"),
        ("actor_rollout_ref.actor.checkpoint.load_contents=null", "load_contents=None must be a list of texts"),
        ("trainer.default_local_dir=null", "trainer.default_local_dir=None must be a text"),
        ("trainer.resume_from_path=5", "trainer.resume_from_path=5 must be a text, or null"),
        ("trainer.logger=5", "trainer.logger=5 must be a text, or a list of texts"),
        ("reward.custom_reward_function.path=5", "reward.custom_reward_function.path=5 must be a text, or null"),
        ("cppo=null", "cppo=None must be a block of options"),
        ("actor_rollout_ref.actor=null", "actor_rollout_ref.actor=None must be a block of options"),
        ("data.max_prompt_length=two", "data.max_prompt_length='two' must be a whole number from 1"),
        ("trainer.nnodes=1" + "0" * 400, "000 must be a whole number from 1 to 100000"),
        ("data.train_batch_size=1000000000 data.max_prompt_length=0", "data.max_prompt_length=0 must be"),
        (
            "actor_rollout_ref.rollout.n=100000",
            "rollout.n=100000 must be a whole number from 1 to 10000; nearest: 10000",
        ),
        ("actor_rollout_ref.actor.ppo_mini_batch_size=1000000000", "ppo_mini_batch_size=8"),
        ("cppo.pruning_rate=1e99999999", "is not a number"),
        (
            f"{REWARD_MODEL}.enable=true {REWARD_MODEL}.enable_resource_pool=true",
            "reward.reward_model.model_path=null, but",
        ),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(ready, override, says):
    given = ready()
    for pair in override.split():
        key, _, value = pair.partition("=")
        OmegaConf.update(given, key, OmegaConf.create(f"v: {value}").v, merge=False)
    with pytest.raises(ConfigError) as caught:
        prepare(given)
    assert says in str(caught.value)
    assert len(caught.value.args) == 1, "no other fault is reported"


def test_what_a_value_derived_from_a_wrong_one_is_not_resolved(config):
    best = config("recipe=toy", "device=cpu", "mode=save_best", "data.train_files=5")
    with pytest.raises(ConfigError, match=r"data\.train_files=5 must be a text"):
        prepare(best)


def test_a_fault_that_nobody_thought_of_is_said_beside_the_others(ready, monkeypatch):
    def surprised(_):
        raise KeyError("surprise")

    monkeypatch.setattr(preflight_check, "_engine_faults", surprised)
    with pytest.raises(ConfigError) as caught:
        check(ready("data.train_files=nowhere", "trainer.save_freq=0"))
    assert "could not check the rollout engine: KeyError: 'surprise'" in caught.value.args
    assert len(caught.value.args) == 3


@pytest.mark.parametrize("extra_info", [None, [None, None], ["test", "test"], [{"index": 1}, None]])
def test_save_best_with_rows_that_do_not_say_their_split(ready, tmp_path, extra_info):
    rows = write_rows(tmp_path / "validation.parquet", list("ab"), extra_info=extra_info)
    check(ready("mode=save_best", f"data.val_files={rows}"))


def test_save_best_with_a_truncated_file(ready, tmp_path):
    rows = write_rows(tmp_path / "validation.parquet", list("ab"))
    rows.write_bytes(rows.read_bytes()[:-20])
    with pytest.raises(ConfigError, match=r"^data\.val_files: .*not a readable parquet file"):
        check(ready("mode=save_best", f"data.val_files={rows}"))


@pytest.mark.parametrize("path", ["x/4", "x/global_step_4/", "global_step_", "my_global_step_4"])
def test_only_a_step_of_verl_is_resumed_from(config, path):
    with pytest.raises(ConfigError, match=r"resume_from_path=.* is no checkpoint"):
        check(config("recipe=toy", *NOWHERE, "trainer.resume_mode=resume_path", f"trainer.resume_from_path={path}"))


V1 = "trainer.use_v1=true"
SEPARATE = ("mode=separate_async", "device=cpu")


@pytest.mark.parametrize(
    "overrides, fault",
    [
        (["trainer.v1.separate_async.parameter_sync_step=0"], "parameter_sync_step=0 must be a whole number from 1"),
        (
            ["trainer.v1.separate_async.parameter_sync_step=3"],
            "parameter_sync_step=3 must be GRPO.s mini-batches",
        ),
        (["trainer.v1.sampler.max_off_policy_threshold=0"], "max_off_policy_threshold=0 must be a whole number from 1"),
        (["trainer.v1.sampler.max_off_policy_strategy=dorp"], "'dorp' is not one of drop, wait"),
        (["trainer.v1.separate_async.num_warmup_batches=-1"], "num_warmup_batches=-1 must be a number from 0"),
        (["actor_rollout_ref.rollout.nnodes=0"], "the engines need devices of their own"),
        (["actor_rollout_ref.rollout.checkpoint_engine.backend=naive"], "set it to file"),
        (["trainer.v1.separate_async.hybrid_rollout.enable_switch=true"], "enable_switch=true is not supported"),
        (
            ["trainer.n_gpus_per_node=2", "actor_rollout_ref.rollout.tensor_model_parallel_size=2"],
            "tensor_model_parallel_size=2 does not divide the 1 devices",
        ),
    ],
)
def test_engines_on_devices_of_their_own(ready, overrides, fault):
    check(ready(*SEPARATE))
    with pytest.raises(ConfigError, match=fault):
        check(ready(*SEPARATE, *overrides))


def test_a_checkpoint_of_an_asynchronous_run_is_not_taken_up_by_a_synchronous_one(ready, tmp_path):
    folder = tmp_path / "run"
    (folder / "global_step_4/transfer_queue").mkdir(parents=True)
    (folder / "global_step_4/complete.json").write_text("{}")
    here = f"trainer.default_local_dir={folder}"
    check(ready(V1, "trainer.v1.trainer_mode=cppo_colocate_async", here))
    for trainer in ((), (V1,)):
        with pytest.raises(ConfigError, match="holds questions that were being sampled"):
            check(ready(*trainer, here))


def test_a_loss_of_a_library_of_the_users_own_is_not_refused(ready):
    own = "actor_rollout_ref.actor.policy_loss.loss_mode=mine"
    library = "actor_rollout_ref.model.external_lib=[cppo_verl.weight_sync.register,mine]"
    with pytest.raises(ConfigError, match="loss_mode='mine' is not one of"):
        check(ready(own))
    check(ready(own, library))


NO_SCHEDULE = "~actor_rollout_ref.actor.optim.lr_scheduler_type"
NO_FSDP = "~actor_rollout_ref.ref.fsdp_config"


def test_another_engine_is_planned_with_its_own_options(config, ready):
    engine, strategy = "model_engine=megatron", "actor_rollout_ref.actor.strategy=megatron"
    with pytest.raises(ConfigError, match=r"strategy=megatron needs actor_rollout_ref.actor.megatron.*=megatron too"):
        check(ready(strategy))
    with pytest.raises(ConfigError, match=r"^data\.train_files: nowhere is not there") as caught:
        check(config("recipe=toy", engine, strategy, NO_SCHEDULE, NO_FSDP, "dry_run=true", *NOWHERE))
    assert len(caught.value.args) == 3
    with pytest.raises(ConfigError, match=r"strategy=fsdp2 needs actor_rollout_ref.actor.fsdp_config.*model_engine=dp"):
        check(config("recipe=toy", engine, *NOWHERE))


def test_the_nearest_of_large_micro_batches(config):
    large = config("recipe=gsm8k", "actor_rollout_ref.actor.use_dynamic_bsz=false")
    large.actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu = 10**8 + 7
    (fault,) = micro_batch_faults(large, StepPlan(1, 1, 10**9, 10**9, 10**9, 1))
    assert "nearest that works: 100000000," in fault


def test_checkpoints_at_most(config):
    run = config("recipe=gsm8k", "trainer.save_freq=10")
    keep = {(keep, steps): None for keep in (1, 2, None) for steps in (5, 25, 100)}
    for most, steps in keep:
        run.trainer.max_actor_ckpt_to_keep = most
        keep[most, steps] = checkpoints_at_most(run, steps)
    assert [*keep.values()] == [1, 2, 2, 1, 3, 3, 1, 3, 10]
    run.cppo.save_best = True
    assert checkpoints_at_most(run, 100) == 11
    run.trainer.save_freq = -1
    assert checkpoints_at_most(run, 100) == 0


def test_files_that_the_best_checkpoint_shares_count_once(tmp_path):
    for name in ("global_step_1/actor/weights", "global_step_2/data.pt", "incomplete/global_step_3/weights"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"1234")
    (tmp_path / "best/global_step_1").mkdir(parents=True)
    (tmp_path / "best/global_step_1/weights").hardlink_to(tmp_path / "global_step_1/actor/weights")
    (tmp_path / "best/global_step_1/more").write_bytes(b"12")
    assert bytes_of_checkpoints(tmp_path) == 10
    assert bytes_of_checkpoints(tmp_path / "nowhere") == 0


def test_room_for_one_more_checkpoint_than_stays(ready, tmp_path, monkeypatch):
    run, usage = ready("trainer.save_freq=1"), type(shutil.disk_usage(tmp_path))
    each = 12 * read_model(str(tmp_path)).parameters

    def check_with(free: int, keep: int | None) -> None:
        run.trainer.max_actor_ckpt_to_keep = keep
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2 * free, free, free))
        check(run)

    for keep, times in ((1, 2), (2, 3), (None, 12), (100, 12)):
        check_with(times * each, keep)
        with pytest.raises(ConfigError, match=f"max_actor_ckpt_to_keep={keep} there are up to {times} at a time"):
            check_with(times * each - 1, keep)
    (tmp_path / "run/global_step_1").mkdir(parents=True)
    (tmp_path / "run/global_step_1/weights").write_bytes(bytes(100))
    check_with(2 * each - 100, 1)

"""Checkpoints that a run cannot go on from are refused before Ray starts."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.preflight.check import check
from cppo_verl.preflight.same_run import changed_faults
from cppo_verl.runs.checkpoints import mark_complete
from cppo_verl.runs.folder import save_config
from cppo_verl.runs.identity import write_identity


def verls_checkpoint(run: Path, step: int = 4) -> Path:
    """As verl's own trainer leaves one in a run's folder."""
    folder = run / f"global_step_{step}"
    (folder / "actor").mkdir(parents=True)
    torch.save({"_num_yielded": step}, folder / "data.pt")
    (run / "latest_checkpointed_iteration.txt").write_text(str(step))
    return folder


@pytest.mark.parametrize("mode", ["auto", "resume_path"])
def test_a_checkpoint_of_verls_own_trainer_is_refused_before_ray_starts(config, tmp_path, mode):
    folder = verls_checkpoint(tmp_path)
    where = f"trainer.default_local_dir={tmp_path}", f"trainer.resume_mode={mode}"
    with pytest.raises(
        ConfigError, match=r"global_step_4 is of verl's own trainer.*`cppo-verl export .*global_step_4`"
    ):
        check(config("recipe=gsm8k", *where, f"trainer.resume_from_path={folder if mode == 'resume_path' else 'null'}"))


def test_so_it_is_where_verls_own_command_starts_the_trainer(config, tmp_path):
    """Which has no preflight: before the workers start, not when the data are to go on."""
    from cppo_verl.trainer.v1.trainers import CPPOSync

    verls_checkpoint(tmp_path)
    made = config("recipe=gsm8k", "trainer.use_v1=true", f"trainer.default_local_dir={tmp_path}")
    OmegaConf.resolve(made)
    with pytest.raises(ConfigError, match=r"global_step_4 is of verl's own trainer"):
        CPPOSync(made)


def test_a_checkpoint_of_verls_own_trainer_is_left_behind_where_a_run_begins_anew(config, tmp_path):
    verls_checkpoint(tmp_path)
    with pytest.raises(ConfigError) as caught:
        check(config("recipe=gsm8k", f"trainer.default_local_dir={tmp_path}", "trainer.resume_mode=disable"))
    assert not any("verl's own trainer" in fault for fault in caught.value.args)


@pytest.mark.parametrize("has_critic", [True, False])
def test_ppo_does_not_go_on_from_a_checkpoint_without_a_critic(config, tmp_path, has_critic):
    folder = tmp_path / "global_step_4"
    (folder / ("critic" if has_critic else "actor")).mkdir(parents=True)
    mark_complete(folder)
    with pytest.raises(ConfigError) as caught:
        check(config("recipe=gsm8k", f"trainer.default_local_dir={tmp_path}", "critic.enable=true"))
    assert any("has no critic" in fault for fault in caught.value.args) == (not has_critic)


def own_checkpoint(config, run: Path, *overrides: str) -> Path:
    """As a run of ours leaves one behind, with its config."""
    made = config("recipe=gsm8k", f"trainer.default_local_dir={run}", *overrides)
    save_config(made)
    folder = run / "global_step_4"
    folder.mkdir()
    mark_complete(folder)
    return folder


OTHERS = {
    "cppo.pruning_rate=0.5": "cppo.pruning_rate=0.5 (it: 0.75)",
    "cppo.allocation=false": "cppo.allocation=false (it: true)",
    "cppo.seed=3": "cppo.seed=3 (it: ",
    "data.seed=5": "data.seed=5 (it: ",
    "actor_rollout_ref.model.path=other/model": "actor_rollout_ref.model.path=model (it: Qwen2.5-1.5B-Instruct)",
    "actor_rollout_ref.model.path=runs/b/global_step_5/actor/huggingface": "=b/global_step_5/actor/huggingface (",
    "data.train_files=[a.parquet,b.parquet]": "data.train_files=a.parquet,b.parquet (it: gsm8k/train.parquet)",
    "reward.custom_reward_function.path=mine.py": "mine.py:compute_score (it: cppo_verl.rewards.gsm8k:compute_score)",
}


@pytest.mark.parametrize("other", OTHERS)
def test_the_checkpoint_of_a_run_with_other_settings_is_not_gone_on_from_unasked(config, tmp_path, other):
    folder = own_checkpoint(config, tmp_path, "cppo.pruning_rate=0.75")
    given = "recipe=gsm8k", f"trainer.default_local_dir={tmp_path}", "cppo.pruning_rate=0.75", other
    (told,) = changed_faults(config(*given))
    assert told.startswith(f"{folder} is of a run with other settings") and OTHERS[other] in told
    assert "trainer.experiment_name=NAME" in told
    with pytest.raises(ConfigError) as caught:
        check(config(*given))
    assert told in caught.value.args

    asked = "trainer.resume_mode=resume_path", f"trainer.resume_from_path={folder}"
    for allowed in (asked, ("trainer.resume_mode=disable",), ("trainer.val_only=true",)):
        assert not list(changed_faults(config(*given, *allowed)))


@pytest.mark.parametrize(
    "same",
    [
        *("trainer.total_epochs=9", "trainer.test_freq=7", "cppo.pruning_rate=3/4"),
        *("data.train_files=[data/gsm8k/train.parquet]", "data.train_files=/scratch/17/gsm8k/train.parquet"),
        "actor_rollout_ref.model.path=/cache/models--Qwen--Qwen2.5-1.5B-Instruct/snapshots/0a1b2c",
    ],
)
def test_a_run_goes_on_with_more_epochs_other_validations_or_its_files_elsewhere(config, tmp_path, same):
    own_checkpoint(config, tmp_path, "cppo.pruning_rate=0.75")
    given = "recipe=gsm8k", f"trainer.default_local_dir={tmp_path}", "cppo.pruning_rate=0.75"
    assert not list(changed_faults(config(*given, same)))


def test_a_checkpoint_knows_whose_it_is_whatever_was_started_in_its_folder_since(config, tmp_path):
    given = "recipe=gsm8k", f"trainer.default_local_dir={tmp_path}"
    write_identity(own_checkpoint(config, tmp_path), config(*given))
    save_config(config(*given, "cppo.pruning_rate=0.5"))  # of a start that came to no checkpoint
    assert not list(changed_faults(config(*given)))
    assert list(changed_faults(config(*given, "cppo.pruning_rate=0.5")))


def test_verls_own_command_does_not_go_on_from_another_runs_checkpoint(config, tmp_path):
    from cppo_verl.trainer.v1.trainers import CPPOSync

    given = "recipe=gsm8k", "trainer.use_v1=true", f"trainer.default_local_dir={tmp_path}"
    write_identity(own_checkpoint(config, tmp_path), config(*given))
    made = config(*given, "actor_rollout_ref.rollout.n=8")
    OmegaConf.resolve(made)
    with pytest.raises(ConfigError, match=r"actor_rollout_ref\.rollout\.n=8 \(it: 16\)"):
        CPPOSync(made)


def test_a_plan_of_other_settings_is_no_start(config, tmp_path):
    own_checkpoint(config, tmp_path)
    given = "recipe=gsm8k", f"trainer.default_local_dir={tmp_path}", "cppo.pruning_rate=0.5"
    assert not list(changed_faults(config(*given, "dry_run=true")))


def test_a_config_that_a_kill_cut_off_refuses_nothing(config, tmp_path):
    own_checkpoint(config, tmp_path)
    (tmp_path / "config.yaml").write_text("data: {train")
    assert not list(changed_faults(config("recipe=gsm8k", f"trainer.default_local_dir={tmp_path}")))


def test_a_folder_without_a_whole_checkpoint_is_free(config, tmp_path):
    (own_checkpoint(config, tmp_path) / "complete.json").unlink()
    given = "recipe=gsm8k", f"trainer.default_local_dir={tmp_path}", "cppo.pruning_rate=0.5"
    assert not list(changed_faults(config(*given)))

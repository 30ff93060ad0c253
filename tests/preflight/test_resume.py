"""Checkpoints that a run cannot go on from are refused before Ray starts."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.preflight.check import check
from cppo_verl.runs.checkpoints import mark_complete


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

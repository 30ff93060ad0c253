"""verl's own check of a config is made, without what a plan of CPPO's decides."""

import pytest
from omegaconf import OmegaConf

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.trainer.verl_checks import check_by_verl

FIXED = (
    "actor_rollout_ref.actor.use_dynamic_bsz=false",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1",
    *(f"actor_rollout_ref.{part}.log_prob_micro_batch_size_per_gpu=1" for part in ("rollout", "ref")),
)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("actor_rollout_ref.model.lora_rank=8",),
        # verl would refuse 4 questions of 9 completions over 8 ranks; a step of ours trains on 4 * 9 / 3 * 6 = 72
        (*FIXED, "actor_rollout_ref.rollout.n=9", "cppo.pruning_rate=1/3", "trainer.n_gpus_per_node=8"),
    ],
)
def test_what_runs_passes_and_is_left_as_it_is(config, overrides, capsys):
    resolved = config("recipe=toy", "device=cpu", *overrides)
    OmegaConf.resolve(resolved)
    before = OmegaConf.to_yaml(resolved)
    check_by_verl(resolved)
    assert OmegaConf.to_yaml(resolved) == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ((*FIXED, "actor_rollout_ref.actor.ppo_micro_batch_size=4"), "You have set both"),
        (("++actor_rollout_ref.actor.policy_loss.no_such_option=1",), "no_such_option"),
    ],
)
def test_what_verl_refuses_is_said_in_its_words(config, overrides, says):
    resolved = config("recipe=toy", "device=cpu", *overrides)
    OmegaConf.resolve(resolved)
    with pytest.raises(ConfigError, match=f"verl refuses this config: .*{says}"):
        check_by_verl(resolved)

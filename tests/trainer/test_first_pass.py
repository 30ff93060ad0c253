"""Losses that need no old log-probs, against verl's own where the old policy is the policy."""

import pytest
import torch
from omegaconf import OmegaConf
from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY, get_policy_loss_fn
from verl.workers.config import ActorConfig, PolicyLossConfig

from cppo_verl.trainer.first_pass import PREFIX, choose_loss
from cppo_verl.trainer.worker_options import set_worker_options

LOSSES = [name for name in POLICY_LOSS_REGISTRY if not name.startswith(PREFIX) and name != "bypass_mode"]


def test_there_is_one_for_each_of_verls_losses():
    assert {"vanilla", "gspo", "gpg", "clip_cov", "kl_cov"} <= set(LOSSES)


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_those_of_the_same_old_policy(name):
    generator = torch.Generator().manual_seed(0)
    log_probs = -torch.rand((6, 5), generator=generator, dtype=torch.float64)
    mask = (torch.arange(5) < torch.tensor([1, 2, 3, 4, 5, 5])[:, None]).double()
    advantages = torch.randn((6, 1), generator=generator, dtype=torch.float64) * mask
    config = ActorConfig(
        strategy="fsdp2",
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        policy_loss=PolicyLossConfig(loss_mode=name, dro_beta=0.1),
    )
    config.global_batch_info.update(dp_size=1, global_batch_size=6, batch_num_tokens=int(mask.sum()))

    def loss(mode: str, old: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        policy = log_probs.clone().requires_grad_()
        torch.manual_seed(0)  # clip_cov draws what it clips
        value = get_policy_loss_fn(mode)(
            old_log_prob=old,
            log_prob=policy,
            advantages=advantages,
            response_mask=mask,
            loss_agg_mode="seq-mean-token-mean",
            config=config,
        )[0]
        (gradient,) = torch.autograd.grad(value, policy)
        return value.detach(), gradient

    value, gradient = loss(f"{PREFIX}{name}", torch.zeros_like(log_probs))
    expected, expected_gradient = loss(name, log_probs)
    assert value == expected
    assert gradient.abs().sum() > 0 and torch.equal(gradient, expected_gradient)


@pytest.mark.parametrize(("skips", "chosen"), [(True, f"{PREFIX}gspo"), (False, "gspo")])
def test_the_config_chooses(skips, chosen):
    actor = {"policy_loss": {"loss_mode": "gspo"}}
    config = OmegaConf.create({"cppo": {"skip_old_log_prob": skips}, "actor_rollout_ref": {"actor": actor}})
    choose_loss(config)
    choose_loss(config)
    assert config.actor_rollout_ref.actor.policy_loss.loss_mode == chosen


@pytest.mark.parametrize(("options", "lr"), [({}, 1e-6), ({"lr_scale": "sqrt", "mini_batch": "completions"}, 2e-6)])
def test_workers_get_the_scaled_learning_rate(options, lr):
    actor = {"policy_loss": {"loss_mode": "vanilla"}, "optim": {"lr": 1e-6}}
    parts = {"actor": actor, "model": {"external_lib": None}}
    config = OmegaConf.create({"cppo": {"pruning_rate": 0.75, **options}, "actor_rollout_ref": parts})
    set_worker_options(config)
    assert config.actor_rollout_ref.actor.optim.lr == pytest.approx(lr)

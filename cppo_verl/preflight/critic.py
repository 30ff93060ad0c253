"""PPO's critic in a config: what is refused with it, and mini-batches that do not fit."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig

from cppo_verl.algorithm.step_plan import StepPlan

GAE = "gae"
"""The advantage estimator that gives each token an advantage, from rewards and a critic's values."""


def critic_refusals(config: DictConfig) -> list[tuple[bool, str]]:
    """Of PPO's critic: whether each is a fault, and the message."""
    estimator, enabled = config.algorithm.adv_estimator, bool(config.critic.enable)
    is_ppo, strategy, rate = estimator == GAE and enabled, config.critic.strategy, config.cppo.pruning_rate
    return [
        (
            not is_ppo,
            f"algorithm.adv_estimator={estimator} with critic.enable={str(enabled).lower()}: for PPO set "
            f"algorithm.adv_estimator={GAE} and critic.enable=true (recipe/ppo does), else critic.enable=false",
        ),
        (
            is_ppo and rate not in (0, "0", "0.0"),
            f"cppo.pruning_rate={rate} with a critic: its advantages are of tokens, not of completions, and known only "
            "after its forward over all of them; trained on the kept ones alone it would learn their value, not the "
            "policy's. Set cppo.pruning_rate=0, or algorithm.adv_estimator=grpo critic.enable=false",
        ),
        (
            is_ppo and config.cppo.zero_variance == "drop",
            "cppo.zero_variance=drop with a critic: questions are dropped by an advantage that is not known yet; set "
            "it to keep",
        ),
        (
            is_ppo and bool(config.trainer.use_v1),
            "trainer.use_v1=true with a critic is not supported: these trainers know the advantage before any forward; "
            "set trainer.use_v1=false",
        ),
        (
            is_ppo and strategy not in ("fsdp", "fsdp2"),
            f"critic.strategy={strategy}: a critic was built for fsdp2 and fsdp only; set it to fsdp2",
        ),
    ]


def critic_batch_faults(config: DictConfig, plan: StepPlan) -> Iterator[str]:
    """A critic's mini-batches that do not make up a step, or do not split over the ranks."""
    key, questions = "critic.ppo_mini_batch_size", config.data.train_batch_size
    if not config.critic.enable:
        return
    size, nearest = config.critic.ppo_mini_batch_size, config.actor_rollout_ref.actor.ppo_mini_batch_size
    if questions % size or size * plan.rollout_n % plan.dp_size:
        yield (
            f"{key}={size} does not split the {questions} questions of a step over {plan.dp_size} rank(s); set it to "
            f"the actor's, {nearest}"
        )

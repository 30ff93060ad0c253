"""Entry point `verl.plugins`: verl imports this in the driver and in every Ray worker.

It changes nothing for anyone who does not ask for it: verl's automatic detection never picks the CPU platform, only
`VERL_PLATFORM=cpu` (set by `device=cpu`) does, and the V1 trainers, policy losses and the agent loop are registered
under names of their own.
"""

import wrapt

from cppo_verl.cpu import platform  # noqa: F401  (registers the platform)


@wrapt.when_imported("verl.trainer.ppo.core_algos")
def register_losses(_) -> None:
    """Register verl's losses in the forms that mini-batches of several micro-batches and `cppo.skip_old_log_prob`
    take."""
    from cppo_verl.trainer import first_pass, losses

    losses.register_losses()
    first_pass.register_losses()


@wrapt.when_imported("verl.experimental.agent_loop.agent_loop")
def register_loop(_) -> None:
    """Register the agent loop that samples a question's completions together."""
    from cppo_verl.trainer.group import register

    register.register_loop()


@wrapt.when_imported("verl.trainer.ppo.v1")
def register_trainers(_) -> None:
    """Register CPPO's trainers beside verl's, in a process that imports those: this one is imported while verl is."""
    from cppo_verl.trainer.v1 import trainers  # noqa: F401

"""Entry point `verl.plugins`: verl imports this in the driver and in every Ray worker.

Registering a platform by name changes nothing for anyone who does not ask for it: verl's automatic
detection never picks it, only `VERL_PLATFORM=cpu` (set by `device=cpu`) does.
"""

from cppo_verl.cpu import platform  # noqa: F401  (registers the platform)

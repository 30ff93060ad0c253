"""`doctor`: facts of a machine (`facts`, `machine`), pure functions that judge them, and the command."""

from cppo_verl.preflight.doctor.command import doctor, examine

__all__ = ["doctor", "examine"]

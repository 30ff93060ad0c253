"""CPPO on verl's V1 trainers (`trainer.use_v1=true`)."""

import verl.trainer.ppo.v1  # noqa: F401  (before any module here: `cppo_verl.plugin` imports `trainers` after it)

"""verl's real stack (Ray, FSDP2, vLLM) on a machine without an accelerator.

| obstacle on a CPU                                  | answered in                 | through                   |
| -------------------------------------------------- | --------------------------- | ------------------------- |
| verl knows no CPU platform                         | `platform.py`               | verl's `PlatformRegistry` |
| the FSDP engine is registered for GPUs only        | `engine.py`                 | verl's `EngineRegistry`   |
| so is the value model's, which wants flash-attn    | `../trainer/v0/critic.py`   | the same                  |
| gloo has to be initialised before verl does it     | `worker.py`, `roles.py`     | the role-worker mapping   |
| vLLM's CPU build is a distribution of another name | `vllm_plugin.py`            | a patch, said there       |
| vLLM drops the weights that a sync would update    | `vllm_plugin.py`            | vLLM's `general_plugins`  |
| settings                                           | `../config/device/cpu.yaml` | `device=cpu`              |
"""

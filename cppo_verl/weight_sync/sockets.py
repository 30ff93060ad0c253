"""Weight-sync sockets with names of a run's own, so that several runs can share a machine.

verl 0.9.1 names them by Ray's job number, which every Ray on a machine counts from 1: the weights of one run
would go to the engine of another. Both ends add the suffix that `trainer.launch.launch` puts into the
workers' environment. The trainer's end is registered by `register.py`, which verl's workers import as
`actor_rollout_ref.model.external_lib`; the engine's end is vLLM's option `worker_extension_cls`.
"""

from __future__ import annotations

import os

from omegaconf import DictConfig, OmegaConf

SUFFIX = "CPPO_SOCKETS"
"""Environment variable with the run's suffix."""
REGISTER = "cppo_verl.weight_sync.register"
EXTENSION = "cppo_verl.weight_sync.adapters.OwnSocketExtension"
_REGISTER_KEY = "actor_rollout_ref.model.external_lib"
_EXTENSION_KEY = "actor_rollout_ref.rollout.engine_kwargs.vllm.worker_extension_cls"


def of_this_run(handle: str) -> str:
    """A socket's name as verl gives it, with the run's suffix where there is one."""
    suffix = os.environ.get(SUFFIX)
    return f"{handle.removesuffix('.sock')}-{suffix}.sock" if suffix else handle


def fault(config: DictConfig) -> str | None:
    """Why the two ends would not find each other; None where they do."""
    library, extension = OmegaConf.select(config, _REGISTER_KEY), OmegaConf.select(config, _EXTENSION_KEY)
    libraries = [library] if isinstance(library, str) else list(library or [])
    if (REGISTER in libraries) == (extension == EXTENSION):
        return None
    if REGISTER in libraries:
        return (
            f"{_EXTENSION_KEY}={extension} would wait for its weights for ever at a socket of another name; derive it "
            f"from {EXTENSION} under that name, or set {_REGISTER_KEY}=null too"
        )
    return (
        f"{_REGISTER_KEY}={library} leaves out {REGISTER}, without which the rollout engine waits for its weights for "
        f"ever; set {_REGISTER_KEY}=[{','.join([REGISTER, *libraries])}]"
    )

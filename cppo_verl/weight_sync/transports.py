"""Which of verl's ways of sending weights to engines on devices of their own can be used here."""

from __future__ import annotations

from omegaconf import DictConfig

KEY = "actor_rollout_ref.rollout.checkpoint_engine.backend"
COLOCATED = "naive"
"""The way that moves no weights between devices: verl looks nothing up for it."""


def transport_fault(config: DictConfig) -> str | None:
    """Why verl's workers could not send weights the way that the config names; None where they can.

    verl registers each way whose packages can be imported. It asks its table in the workers, a minute after the start.
    Importing that table takes seconds.
    """
    engine = config.actor_rollout_ref.rollout.checkpoint_engine
    if engine.backend == COLOCATED:
        return None
    from verl.checkpoint_engine import CheckpointEngineRegistry
    from verl.utils.import_utils import import_external_libs

    try:
        import_external_libs(engine.custom_backend_module or None)
        CheckpointEngineRegistry.get(engine.backend)
    except ImportError as error:
        return (
            f"actor_rollout_ref.rollout.checkpoint_engine.custom_backend_module={engine.custom_backend_module}: {error}"
        )
    except ValueError as error:
        remedy = "; for nccl: pip install 'cppo-verl[gpu]', which brings cupy" if engine.backend == "nccl" else ""
        return f"{KEY}={engine.backend} cannot be used: {error}{remedy}"
    return None

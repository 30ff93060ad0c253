"""Which Ray a run's config asks for."""

from __future__ import annotations

import os

from omegaconf import DictConfig


def joins_cluster(ray_init: DictConfig) -> bool:
    """Whether a run joins a cluster that runs already, by `ray_kwargs.ray_init` or by `RAY_ADDRESS`."""
    return ray_init.get("address", os.environ.get("RAY_ADDRESS", "local")) != "local"

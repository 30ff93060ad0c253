"""Names of the files in a run's folder that more than one package reads, and its saved config."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cppo_verl.runs.files import write_whole

CONFIG_FILE = "config.yaml"
"""The resolved config."""
METRICS_FILE = "metrics.jsonl"
"""A line a step."""
LOG_FILE = "log.txt"
"""What the run's processes and their libraries print, of all its starts."""
PROGRESS_FILE = "progress.jsonl"
"""What the run is doing (see `watch.progress`); each start begins a new one."""
DONE = "done"
"""In the folder of a study's run that was trained to its end: which files it read."""


def save_config(config: DictConfig) -> None:
    """Write the resolved config into the run folder; that of a validation alone (`trainer.val_only`) only where there
    is none: the folder's is the run's."""
    folder = Path(config.trainer.default_local_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if OmegaConf.select(config, "trainer.val_only") and (folder / CONFIG_FILE).exists():
        return
    write_whole(folder / CONFIG_FILE, OmegaConf.to_yaml(config, resolve=True))

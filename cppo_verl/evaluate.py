"""Greedy accuracy of a model, or of a run's checkpoint, on a recipe's test set.

python -m cppo_verl.evaluate --config-dir recipe/cppo/config recipe=gsm8k [checkpoint=RUN/global_step_N]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf, open_dict

from cppo_verl.config import ConfigError
from cppo_verl.preflight import CONFIG_FILE
from cppo_verl.train import run
from cppo_verl.trainer.metrics_log import METRICS_FILE


def validation_only(config: DictConfig) -> None:
    """Turn a training config into one that validates and stops, in place.

    Raises:
        ConfigError: `checkpoint` is not a checkpoint of a run.
    """
    with open_dict(config):
        config.trainer.update(val_only=True, val_before_train=True, resume_mode="disable", logger=["console", "file"])
        config.trainer.validation_data_dir = f"{config.trainer.default_local_dir}/generations"
        config.data.train_files = config.data.val_files
        config.actor_rollout_ref.actor.use_kl_loss = False
        config.cppo.update(pruning_rate=0, allocation=False)
        if config.checkpoint:
            folder = checkpoint_folder(config.checkpoint)
            trained = OmegaConf.load(folder.parent / CONFIG_FILE)
            config.actor_rollout_ref.model = trained.actor_rollout_ref.model
            config.actor_rollout_ref.actor.checkpoint.load_contents = ["model"]
            # A sharded checkpoint is loaded by as many ranks as wrote it.
            config.trainer.update(nnodes=trained.trainer.nnodes, n_gpus_per_node=trained.trainer.n_gpus_per_node)
            config.trainer.update(resume_mode="resume_path", resume_from_path=str(folder))


def checkpoint_folder(path: str) -> Path:
    """The checkpoint at `path`: itself a `global_step_N`, or a run's folder, of which the latest is taken.

    Raises:
        ConfigError: There is none.
    """
    folder = Path(path).absolute()
    if (latest := folder / "latest_checkpointed_iteration.txt").is_file():
        folder = folder / f"global_step_{latest.read_text().strip()}"
    if not (folder / "actor").is_dir() or not folder.name.startswith("global_step_"):
        raise ConfigError(f"checkpoint={path} holds no global_step_N/actor, so it is no checkpoint of a run")
    if not (folder.parent / CONFIG_FILE).is_file():
        raise ConfigError(f"checkpoint={path}: the run's {CONFIG_FILE} is not beside it in {folder.parent}")
    return folder


def accuracies(run_folder: str) -> dict[str, float]:
    """Accuracy by data source, of the last validation in a run's metrics."""
    last = json.loads((Path(run_folder) / METRICS_FILE).read_text().splitlines()[-1])["data"]
    keys = (key for key in last if key.startswith("val-core/") and "/acc/mean@" in key)
    return {key.removeprefix("val-core/").partition("/acc/")[0]: last[key] for key in keys}


@hydra.main(config_path="conf", config_name="cppo_trainer", version_base=None)
def main(config: DictConfig) -> None:
    """Hydra's entry point."""
    try:
        validation_only(config)
        run(config)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    for source, accuracy in accuracies(config.trainer.default_local_dir).items():
        print(f"accuracy on {source}: {100 * accuracy:.2f} %")


if __name__ == "__main__":
    main()

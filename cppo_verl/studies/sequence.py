"""Several runs on one start of Ray, FSDP2 and vLLM, one after another from the same initial weights.

A start takes longer than a short run. The runs may differ in what the driver decides: `cppo.*`, seeds, how many
steps (see `cppo_verl.studies.study.engine_side`).

python -m cppo_verl.studies.sequence RUN_FOLDER [RUN_FOLDER ...]
"""

from __future__ import annotations

import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from verl.single_controller.ray import RayWorkerGroup
from verl.trainer.ppo.ray_trainer import RayPPOTrainer

from cppo_verl.runs.files import alone_in
from cppo_verl.runs.folder import CONFIG_FILE, DONE
from cppo_verl.studies.study import inputs
from cppo_verl.trainer.launch import launch
from cppo_verl.trainer.v0.task_runner import CPPOTaskRunner


class SequenceRunner(CPPOTaskRunner):
    """Trains the runs whose folders `config.sequence` names, each by the config that is saved there."""

    def run(self, config: DictConfig) -> None:
        """Start the workers for the first run and hand them on to the next, reset each time."""
        workers: dict = {}
        initial = Path(config.sequence[0]) / "initial"
        for folder in map(Path, config.sequence):
            trainer = self.make_trainer(OmegaConf.load(folder / CONFIG_FILE))
            if not workers:
                workers = start_workers(trainer)
                if len(config.sequence) > 1:
                    save_initial(trainer, initial)
            else:
                hand_over(workers, trainer, initial)
            self.fit(trainer)
            (folder / DONE).write_text(inputs(trainer.config))
        shutil.rmtree(initial, ignore_errors=True)


def start_workers(trainer: RayPPOTrainer) -> dict:
    """Start a trainer's workers; returns what of the trainer they are, by attribute."""
    before = dict(vars(trainer))
    trainer.init_workers()
    return {name: value for name, value in vars(trainer).items() if name not in before or before[name] is not value}


def save_initial(trainer: RayPPOTrainer, folder: Path) -> None:
    """Save weights, optimizer and random states as they are before any training.

    Under another name first: verl deletes old checkpoints by the name they were saved under.
    """
    shutil.rmtree(folder, ignore_errors=True)
    saved_as = folder.with_name(f"{folder.name}.saved")
    for name, workers in trained(trainer).items():
        workers.save_checkpoint(str(saved_as / name), None, 0, max_ckpt_to_keep=None)
    saved_as.rename(folder)


def hand_over(workers: dict, trainer: RayPPOTrainer, initial: Path) -> None:
    """Give a trainer the workers that `start_workers` returned, as `save_initial` found them."""
    vars(trainer).update(workers)
    trainer.checkpoint_manager.sleep_replicas()
    for name, model in trained(trainer).items():
        model.load_checkpoint(str(initial / name))


def trained(trainer: RayPPOTrainer) -> dict[str, RayWorkerGroup]:
    """The worker groups whose models learn, by name."""
    critic = {"critic": trainer.critic_wg} if trainer.use_critic else {}
    return {"actor": trainer.actor_rollout_wg, **critic}


def main(folders: list[str], runner: type = SequenceRunner) -> None:
    """Train the runs of these folders, each of which holds the config of its run, in such a Ray actor."""
    first = Path(folders[0])
    config = OmegaConf.load(first / CONFIG_FILE)
    with ExitStack() as alone:
        for folder in folders:
            alone.enter_context(alone_in(Path(folder)))
        if config.trainer.use_v1:  # whose runs start by themselves
            launch(config)
            (first / DONE).write_text(inputs(config))
            return
        config.sequence = folders
        launch(config, runner)


if __name__ == "__main__":
    from cppo_verl.studies.sequence import main  # so that Ray's workers import the class instead of a copy

    main(sys.argv[1:])

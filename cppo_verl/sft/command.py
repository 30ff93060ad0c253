"""Fine-tune on demonstrations; RUN/model is then what `actor_rollout_ref.model.path` takes.

cppo-verl sft [sft=NAME] [device=cpu] [key=value ...]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cppo_verl.config.compose import run_with_config
from cppo_verl.runs.checkpoints import Checkpoints, step_of
from cppo_verl.runs.files import alone_in
from cppo_verl.runs.folder import CONFIG_FILE, save_config
from cppo_verl.runs.wandb_run import wandb_environment
from cppo_verl.sft.checks import check, describe, remarks
from cppo_verl.sft.demonstrations import prompt_settings
from cppo_verl.sft.going_on import goes_on_from, leave_behind
from cppo_verl.sft.launcher import run_ranks, wait_for_strays
from cppo_verl.sft.model import MODEL, write_model


def run(config: DictConfig) -> None:
    """Check a config, train on its ranks, and write the model.

    Raises:
        ConfigError: Something is wrong that can be known before the ranks start; the message lists all of it.
        InUse: Another run writes into its folder, or the ranks of one that was killed do.
        SystemExit: The run ended before its end; the message says why, and where the next start goes on.
    """
    OmegaConf.resolve(config)
    folder = Path(config.trainer.default_local_dir).absolute()
    config.trainer.default_local_dir = str(folder)
    check(config)
    print(describe(config), *(f"note: {remark}" for remark in remarks(config)), sep="\n", flush=True)
    from cppo_verl.runs.endings import explained, sigterm_interrupts  # imports torch: after what does not need it

    with alone_in(folder):
        wait_for_strays(folder)
        save_config(config)
        with explained(folder, config.trainer.resume_mode), sigterm_interrupts():
            leave_behind(config)
            train(config)
            last = Checkpoints(folder).last_complete() or Path(config.trainer.resume_from_path)
            write_model(last, folder / MODEL, prompt_settings(config))
    print(f"Finished. Model of step {step_of(last)}: {folder / MODEL}", flush=True)


def train(config: DictConfig) -> None:
    """Run the ranks to their end.

    Raises:
        SystemExit: One of them failed, or the planned steps were not done.
    """
    from cppo_verl.runs.endings import way_on

    folder = Path(config.trainer.default_local_dir)
    environment = {name: str(value) for name, value in config.environment.items()}
    environment |= wandb_environment(config.trainer, {**os.environ, **environment}, goes_on_from(config))
    if code := run_ranks(folder / CONFIG_FILE, config.trainer.n_gpus_per_node, environment):
        again = way_on(folder, config.trainer.resume_mode)
        sys.exit(f"error: the training ended with exit code {code}, for the reason above. {again}")


def main(arguments: Sequence[str]) -> None:
    """Train what a command line asks for."""
    run_with_config(run, arguments, Path(__file__).parent / "conf", "sft")

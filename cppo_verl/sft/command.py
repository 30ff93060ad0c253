"""Fine-tune on demonstrations; RUN/model is then what `actor_rollout_ref.model.path` takes.

cppo-verl sft [sft=NAME] [device=cpu] [key=value ...]
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cppo_verl.config.compose import run_with_config
from cppo_verl.runs.checkpoints import LATEST
from cppo_verl.runs.files import alone_in
from cppo_verl.runs.folder import CONFIG_FILE, save_config
from cppo_verl.sft.checks import check, describe, remarks
from cppo_verl.sft.model import MODEL, write_model


def run(config: DictConfig) -> None:
    """Check a config, train on its ranks, and write the model.

    Raises:
        ConfigError: Something is wrong that can be known before the ranks start; the message lists all of it.
        InUse: Another run writes into its folder.
        SystemExit: A rank failed.
    """
    OmegaConf.resolve(config)
    folder = Path(config.trainer.default_local_dir).absolute()
    config.trainer.default_local_dir = str(folder)
    check(config)
    print(describe(config), *(f"note: {remark}" for remark in remarks(config)), sep="\n", flush=True)
    with alone_in(folder):
        save_config(config)
        start_ranks(config, folder / CONFIG_FILE)
        step = (folder / LATEST).read_text().strip()
        write_model(folder / f"global_step_{step}", folder / MODEL)
    print(f"Finished. Model of step {step}: {folder / MODEL}", flush=True)


def start_ranks(config: DictConfig, file: Path) -> None:
    """Run `cppo_verl.sft.rank` on every device of this machine, to its end.

    Raises:
        SystemExit: A rank failed.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    ranks = f"--nproc-per-node={config.trainer.n_gpus_per_node}"
    environment = {**os.environ, **{name: str(value) for name, value in config.environment.items()}}
    command = [*torchrun, ranks, "-m", "cppo_verl.sft.rank", str(file)]
    if code := subprocess.run(command, env=environment).returncode:
        sys.exit(f"error: the training ended with exit code {code}; the same command goes on from its last checkpoint")


def main(arguments: Sequence[str]) -> None:
    """Train what a command line asks for."""
    run_with_config(run, arguments, Path(__file__).parent / "conf", "sft")

"""What each rank does: verl's SFT trainer, on a GPU or on the CPU. `python -m cppo_verl.sft.rank RUN/config.yaml`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch.distributed as dist
from omegaconf import DictConfig, OmegaConf
from verl.trainer.sft_trainer import SFTTrainer
from verl.utils.distributed import destroy_global_process_group, initialize_global_process_group

import cppo_verl.trainer.log_probs  # noqa: F401  (the SFT loss takes them too)
from cppo_verl.cpu.platform import chosen as on_cpu
from cppo_verl.runs.folder import METRICS_FILE

LOG = Path(METRICS_FILE)


def train(config: DictConfig) -> None:
    """Train until the data, or `trainer.total_training_steps`, are used up; goes on from the last checkpoint.

    verl 0.9.1's own `run_sft`, with a process group that the CPU can have, a log in the run's folder (a file a start:
    verl opens it anew), and no further step for a run that was at its end.
    """
    if on_cpu():
        import cppo_verl.cpu.engine  # noqa: F401  (registers the engine)

        dist.init_process_group("gloo")  # verl would ask for cpu:gloo twice, which torch refuses
    else:
        initialize_global_process_group()
    trainer = SFTTrainer(config)
    done, steps = trainer.resume_global_step, trainer.total_training_steps
    log = LOG.with_stem(f"{LOG.stem}_from_{done}") if done else LOG
    os.environ["VERL_FILE_LOGGER_PATH"] = str(Path(config.trainer.default_local_dir) / log)
    if done < steps:
        trainer.fit()
    else:
        print(f"All {steps} steps are done", flush=True)
    destroy_global_process_group()


if __name__ == "__main__":
    train(OmegaConf.load(sys.argv[1]))

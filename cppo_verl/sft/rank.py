"""What each rank does: verl's SFT trainer, on a GPU or on the CPU.

`python -m cppo_verl.sft.rank RUN/config.yaml PID`, where PID is the process that waits for the ranks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch.distributed as dist
from omegaconf import DictConfig, OmegaConf
from verl.utils.distributed import destroy_global_process_group, initialize_global_process_group

import cppo_verl.trainer.log_probs  # noqa: F401  (the SFT loss takes them too)
from cppo_verl.cpu.platform import chosen as on_cpu
from cppo_verl.runs.files import alone_in
from cppo_verl.runs.folder import METRICS_FILE
from cppo_verl.sft.launcher import RANK_LOCK
from cppo_verl.sft.orphans import end_with
from cppo_verl.sft.trainer import WarmStart

LOG = Path(METRICS_FILE)


def train(config: DictConfig) -> None:
    """Train until the data, or `trainer.total_training_steps`, are used up; goes on from the last checkpoint.

    verl 0.9.1's own `run_sft`, with a process group that the CPU can have, a log in the run's folder (a file a start:
    verl opens it anew), and no further step for a run that was at its end.

    Raises:
        SystemExit: The data were used up before the planned steps were done.
    """
    if on_cpu():
        import cppo_verl.cpu.engine  # noqa: F401  (registers the engine)

        dist.init_process_group("gloo")  # verl would ask for cpu:gloo twice, which torch refuses
    else:
        initialize_global_process_group()
    trainer = WarmStart(config)
    done = trainer.resume_global_step
    log = LOG.with_stem(f"{LOG.stem}_from_{done}") if done else LOG
    os.environ["VERL_FILE_LOGGER_PATH"] = str(Path(config.trainer.default_local_dir) / log)
    trainer.fit()
    destroy_global_process_group()


if __name__ == "__main__":
    file, starter = sys.argv[1:]
    end_with(os.getppid(), int(starter))
    with alone_in(Path(file).parent, RANK_LOCK.format(os.environ["LOCAL_RANK"])):
        train(OmegaConf.load(file))

"""The runs of a benchmark on one start of the stack, verl's own unmodified trainer among them.

python -m cppo_verl.bench.runner RUN_FOLDER [RUN_FOLDER ...]
"""

from __future__ import annotations

import sys

from omegaconf import DictConfig, OmegaConf
from verl.trainer.ppo.ray_trainer import RayPPOTrainer

from cppo_verl.runs.metrics_log import MetricsLog
from cppo_verl.studies.sequence import SequenceRunner, main
from cppo_verl.trainer.v0.trainer import RayCPPOTrainer


class BenchRunner(SequenceRunner):
    """`SequenceRunner` in which a run may be of verl's own trainer: `own.verls_own=true`."""

    def make_trainer(self, config: DictConfig) -> RayPPOTrainer:
        """As the parent's."""
        self.trainer_class = RayCPPOTrainer
        if OmegaConf.select(config, "own.verls_own"):
            self.trainer_class = RayPPOTrainer
            MetricsLog(config.trainer.default_local_dir)  # tells verl's logger where to write
        return super().make_trainer(config)


if __name__ == "__main__":
    from cppo_verl.bench.runner import BenchRunner  # so that Ray's workers import the class instead of a copy

    main(sys.argv[1:], BenchRunner)

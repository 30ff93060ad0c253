"""What V0's trainer sends its workers: no column that none of them reads."""

from __future__ import annotations

from typing import Any

from verl import DataProto
from verl.experimental.separation.ray_trainer import SeparateRayPPOTrainer

from cppo_verl.trainer.rows import read_by_workers


class SendsWhatIsRead(SeparateRayPPOTrainer):
    """A part of `RayCPPOTrainer`: verl's forwards, and its update of a critic, with the columns that they read.

    verl 0.9.1 sends the whole batch, padded, with each. The actor's update is `CPPOStep._update_actor`.
    """

    def _compute_old_log_prob(self, batch: DataProto) -> tuple[DataProto, Any]:
        return super()._compute_old_log_prob(read_by_workers(batch))

    def _compute_ref_log_prob(self, batch: DataProto) -> DataProto:
        return super()._compute_ref_log_prob(read_by_workers(batch))

    def _compute_values(self, batch: DataProto) -> DataProto:
        return super()._compute_values(read_by_workers(batch))

    def _update_critic(self, batch: DataProto) -> DataProto:
        return super()._update_critic(read_by_workers(batch))

"""verl's SFT trainer, with a place in the data that follows from the step, and checkpoints that are complete or said.

verl 0.9.1 saves its dataloader's state. Of a checkpoint at an epoch's end that state yields nothing more, and verl has
counted the epoch by then: a run that goes on from it skips the next epoch. It also deletes only those checkpoints that
the running start has saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import wraps
from itertools import chain, islice

import torch
import torch.distributed as dist
from omegaconf import DictConfig
from tensordict import TensorDict
from torch.utils.data import DistributedSampler, Sampler
from verl.trainer.sft_trainer import SFTTrainer
from verl.utils import tensordict_utils as tu
from verl.utils.checkpoint import CheckpointHandler

from cppo_verl.runs.checkpoints import Checkpoints
from cppo_verl.trainer.weight_check import not_finite_here
from cppo_verl.watch.alarms import in_words

LEARNING = "loss", "grad_norm"
"""verl's metrics of a step that are not finite where a model is lost, or would be."""
_LOST = "no checkpoint of it was saved: lower optim.lr, or look at the data"


class FromTheMiddle(Sampler[int]):
    """A rank's demonstrations epoch by epoch, of one of which the first are left out: those that were trained on.

    A pass gives the same however often it is begun, as a dataloader with workers does.

    Args:
        sampler: Of whole epochs.
    """

    def __init__(self, sampler: DistributedSampler):
        self.sampler = sampler
        self.resumed = (0, 0)
        """The epoch that a run goes on in, and how many of its demonstrations are left out."""

    def set_epoch(self, epoch: int) -> None:
        """Of the order, as torch's."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        """Of a whole pass: an epoch's steps are counted by it."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        epoch, done = self.resumed
        return islice(iter(self.sampler), done if self.sampler.epoch == epoch else 0, None)


class WholeCheckpoints(CheckpointHandler):
    """verl's, of which a checkpoint is complete or marked unfinished (`runs.checkpoints`), and older ones go once the
    new one is there, whichever start saved them.

    Args:
        keep: How many of the latest stay; None keeps all.
    """

    def __init__(self, *args, keep: int | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.checkpoints = Checkpoints(self.default_local_dir, keep)
        self.last_step = 0
        """The last step that was saved or loaded."""

    def save_checkpoint(self, step: int) -> None:
        """
        Raises:
            CheckpointError: It could not be written. The older ones are as they were.
            SystemExit: A weight is not finite; the same.
        """
        self._check_weights(step)
        with self.checkpoints.saving(step) if self.rank == 0 else nullcontext():
            dist.barrier()  # no rank writes into the folder before it is made
            super().save_checkpoint(step)  # to which all ranks come at its end
        self.last_step = step

    def _check_weights(self, step: int) -> None:
        found: list[list[str]] = [[]] * dist.get_world_size()
        dist.all_gather_object(found, not_finite_here(self.engine.module))
        if names := sorted(set(chain(*found))):
            raise SystemExit(f"error: {in_words(step, names)}; {_LOST}")

    def load_checkpoint(self) -> int:
        """The step that the run goes on from, 0 for the beginning."""
        self.last_step = super().load_checkpoint()
        return self.last_step

    def _load_dataloader_state(self, checkpoint_path: str) -> None:
        """Nothing: see `WarmStart`."""


class WarmStart(SFTTrainer):
    """verl's; step N is the N-th of an undisturbed run's, whatever start it is of."""

    def __init__(self, config: DictConfig):
        super().__init__(config)
        epoch, steps = divmod(self.resume_global_step, self.steps_per_epoch)
        self.train_sampler.resumed = (epoch, steps * self.train_batch_size_per_dp)

    def _build_engine(self) -> None:
        super()._build_engine()
        client = self.training_client
        client.train_batch = learning(client.train_batch, lambda: getattr(self.engine, "scaler", None) is not None)

    def _build_dataloader(self) -> None:
        super()._build_dataloader()
        self.train_sampler = FromTheMiddle(self.train_sampler)
        self.train_dataloader.batch_sampler.sampler = self.train_sampler

    def _build_ckpt_handler(self) -> None:
        trainer = self.config.trainer
        keep = trainer.max_ckpt_to_keep
        self.ckpt_handler = WholeCheckpoints(
            self.engine,
            self.train_dataloader,
            default_local_dir=trainer.default_local_dir,
            default_hdfs_dir=trainer.default_hdfs_dir,
            resume_mode=trainer.resume_mode,
            resume_from_path=trainer.resume_from_path,
            lora_train_meta=self._get_lora_train_meta(),
            keep=keep if keep and keep > 0 else None,  # as verl's own, which it stands for
        )

    def fit(self) -> None:
        """Train what is left of the planned steps.

        Raises:
            SystemExit: The data were used up before.
        """
        steps = self.total_training_steps
        if self.resume_global_step < steps:
            super().fit()
        else:
            print(f"All {steps} steps are done", flush=True)
        if self.ckpt_handler.last_step < steps:
            raise SystemExit(f"error: the data were used up after step {self.ckpt_handler.last_step} of {steps}")


def learning(
    train_batch: Callable[..., TensorDict | None], is_scaled: Callable[[], bool]
) -> Callable[..., TensorDict | None]:
    """A worker's step, which ends the run where its loss or its gradient is not finite.

    verl 0.9.1 leaves out such an update and goes on.

    Args:
        train_batch: The step; a rank that has no outputs, as one of sequence parallelism, gives None.
        is_scaled: Whether the loss is scaled, as in float16: gradients that are not finite are then how the scale is
            found. Asked at a step, because verl makes the scaler with the model, after the worker.
    """

    @wraps(train_batch)
    def step(*args, **kwargs) -> TensorDict | None:
        output = train_batch(*args, **kwargs)
        metrics = {} if output is None else tu.get(output, "metrics") or {}
        looked_at = LEARNING[:1] if is_scaled() else LEARNING
        values = {name: float(torch.as_tensor(metrics[name]).float().mean()) for name in looked_at if name in metrics}
        if wrong := [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]:
            raise SystemExit(f"error: in a step {', '.join(wrong)}; {_LOST}")
        return output

    return step

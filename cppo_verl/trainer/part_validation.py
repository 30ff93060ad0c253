"""`cppo.val_every_questions`: validations of a part of the questions, between verl's own, which are of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from torch.utils.data import Subset
from torchdata.stateful_dataloader import StatefulDataLoader
from verl.utils.debug import marked_timer

from cppo_verl.algorithm.metrics import SUBSET
from cppo_verl.trainer.run_folder import RunFolder


def evenly_spaced(total: int, wanted: int | None) -> list[int]:
    """`wanted` positions of `total`, or all of them where they are fewer or it is None; the same in every run."""
    return np.unique(np.linspace(0, total - 1, min(wanted or total, total)).round().astype(int)).tolist()


class PartValidation(RunFolder):
    """A mixin over verl's trainers, V0 and V1, which call `_validate_part` when a step is over.

    It needs of the trainer, besides what `RunFolder` does, the `plan` of a step and verl's `val_dataset` and
    `val_dataloader`.
    """

    def _validate_part(self, timing_raw: dict[str, float]) -> dict[str, float]:
        """verl's metrics of a validation of the part, where one is due after this step; its time is not the step's."""
        if not self._part_is_due(self.global_steps, self.metrics):
            return {}
        with marked_timer("testing", timing_raw, color="green"):
            self.of_part = True
            return self._validate()

    def _validate(self, *args, **kwargs) -> dict[str, float]:
        if not self.of_part:
            return super()._validate(*args, **kwargs)
        with self._loading_part() as questions:
            found = super()._validate(*args, **kwargs)
        return found | {SUBSET: questions} if questions < len(self.val_dataset) else found

    def _part_is_due(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Whether a multiple of `val_every_questions` lies among the step's questions, and no whole validation is due.

        Questions are counted as planned: what a step draws beyond that, in place of dropped ones, does not count.
        """
        every, questions = self.cppo.val_every_questions, self.plan.questions
        is_due = every is not None and step * questions // every > (step - 1) * questions // every
        return is_due and not self._whole_is_due(step, metrics)

    @contextmanager
    def _loading_part(self) -> Iterator[int]:
        """verl's dataloader of the validation questions is one of the part; yields how many it has."""
        whole, positions = self.val_dataloader, evenly_spaced(len(self.val_dataset), self.cppo.val_subset)
        self.val_dataloader = StatefulDataLoader(
            dataset=Subset(self.val_dataset, positions),
            batch_size=self.config.data.val_batch_size or len(positions),
            num_workers=0,  # a few questions, for which no process need be started
            collate_fn=whole.collate_fn,
        )
        try:
            yield len(positions)
        finally:
            self.val_dataloader, self.of_part = whole, False

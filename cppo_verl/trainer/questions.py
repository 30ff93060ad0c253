"""The training data as a step draws from it: question by question."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from torchdata.stateful_dataloader import StatefulDataLoader

from cppo_verl.algorithm.options import ConfigError


class QuestionStream:
    """Stands where verl's trainer keeps its dataloader, and counts epochs in questions consumed.

    A step may need any number of questions (further rounds of `zero_variance=drop`), so the dataloader
    below yields single ones. Iterating yields the stream itself once a step, while a whole step of questions
    is left in the epoch; the remainder of an epoch is dropped, as verl does. One iteration runs over all
    epochs: verl's outer loop over epochs, which counts steps, then finds nothing left.

    Args:
        dataloader: Yields one collated question at a time.
        questions_per_step: Questions a step takes in its first round.
        epochs: Passes over the data.
    """

    def __init__(self, dataloader: StatefulDataLoader, questions_per_step: int, epochs: int):
        self.dataloader = dataloader
        self.questions_per_step = questions_per_step
        self.epochs = epochs
        self.epoch = 0
        """The running epoch, from 0."""
        self.drawn = 0
        """Questions drawn in this epoch."""
        self._questions: Iterator[dict[str, Any]] | None = None
        """What is left of the running epoch; None between two epochs."""

    def __len__(self) -> int:
        """Steps an epoch (at the most, where steps need further rounds)."""
        return len(self.dataloader) // self.questions_per_step

    def draw(self, count: int) -> list[dict[str, Any]]:
        """The next `count` questions, one by one over the epochs, whole ones: however many are asked for at a time,
        they are the same.

        For a trainer that asks while it trains and whose epochs end by its count of steps.
        """
        questions: list[dict[str, Any]] = []
        for _ in range(count):
            if not self._left():
                self._end_epoch()
            questions += self.take(1)
        return questions

    def __iter__(self) -> Iterator[QuestionStream]:
        while self.epoch < self.epochs:
            while self._left() >= self.questions_per_step:
                yield self
            self._end_epoch()

    def take(self, count: int) -> list[dict[str, Any]]:
        """The next `count` questions; fewer at the end of an epoch."""
        # Not past the end: a dataloader that has raised StopIteration saves its state as that of the next epoch.
        questions = list(itertools.islice(self._rest(), min(count, self._left())))
        self.drawn += len(questions)
        return questions

    def has_next_step(self) -> bool:
        """Whether a further step will follow."""
        return self._left() >= self.questions_per_step or self.epoch + 1 < self.epochs

    def state_dict(self) -> dict[str, Any]:
        """Saved by verl in the checkpoint's `data.pt`."""
        return {"dataloader": self.dataloader.state_dict(), "epoch": self.epoch, "drawn": self.drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken, in the same order of questions.

        Raises:
            ConfigError: It is of another dataloader.
        """
        if missing := {"dataloader", "epoch", "drawn"} - state.keys():
            raise ConfigError(
                f"the checkpoint's data.pt has no {', '.join(sorted(missing))}: it is of verl's own trainer, whose "
                "place in the data is counted in batches; start a new run from its weights (`cppo-verl export`)"
            )
        self.dataloader.load_state_dict(state["dataloader"])
        self.epoch, self.drawn = state["epoch"], state["drawn"]

    def _left(self) -> int:
        return len(self.dataloader) - self.drawn

    def _rest(self) -> Iterator[dict[str, Any]]:
        if self._questions is None:
            self._questions = iter(self.dataloader)
        return self._questions

    def _end_epoch(self) -> None:
        for _ in self._rest():
            pass  # to its end, so that the next epoch's order is the same with and without a resume
        self.epoch, self.drawn, self._questions = self.epoch + 1, 0, None

"""The training data as a step draws from it: question by question."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from torchdata.stateful_dataloader import StatefulDataLoader

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.step_plan import StepPlan
from cppo_verl.trainer.ahead import Ahead


def steps_of_run(plan: StepPlan, num_questions: int, epochs: int, asked: int | None) -> int:
    """Training steps of a run: those asked for, or all that its epochs have.

    Args:
        plan: Of a step.
        num_questions: That are left once those with too long a prompt are left out.
        epochs: Passes over them.
        asked: `trainer.total_training_steps`.

    Raises:
        ConfigError: More steps are asked for than the epochs have, or see `StepPlan.steps_per_epoch`.
    """
    of_data = plan.steps_per_epoch(num_questions) * epochs
    if asked and asked > of_data:
        raise ConfigError(
            f"trainer.total_training_steps={asked}, but {epochs} epoch(s) of the {num_questions} questions whose "
            f"prompts are not too long are {of_data} steps; set it to {of_data} or less, or raise trainer.total_epochs"
        )
    return asked or of_data


def one_by_one(dataloader: StatefulDataLoader) -> StatefulDataLoader:
    """The same questions in the same order, one at a time."""
    return StatefulDataLoader(
        dataset=dataloader.dataset,
        sampler=dataloader.sampler,
        batch_size=1,
        num_workers=dataloader.num_workers,
        collate_fn=dataloader.collate_fn,
        drop_last=True,
    )


class QuestionStream:
    """Stands where verl's trainer keeps its dataloader, and counts epochs in questions consumed.

    A step may need any number of questions (further rounds of `zero_variance=drop`), so the dataloader below yields
    single ones. A step begins while its questions are left in the epoch; the remainder of an epoch is dropped, as verl
    does. It has no last epoch: a run ends when its planned steps are done, whatever further rounds took.

    Args:
        dataloader: Yields one collated question at a time.
        questions_per_step: Questions a step takes in its first round.
    """

    def __init__(self, dataloader: StatefulDataLoader, questions_per_step: int):
        self.dataloader = dataloader
        self.questions_per_step = questions_per_step
        self.epoch = 0
        """The running epoch, from 0."""
        self.drawn = 0
        """Questions drawn in this epoch."""
        self._questions: Iterator[dict[str, Any]] | None = None
        """What is left of the running epoch; None between two epochs."""
        self._ahead = Ahead()

    def __len__(self) -> int:
        """Steps an epoch (at the most, where steps need further rounds)."""
        return len(self.dataloader) // self.questions_per_step

    def begin_step(self) -> None:
        """Go on to the next epoch where fewer questions than a step takes are left."""
        if self._left() < self.questions_per_step:
            self._end_epoch()

    def draw(self, count: int) -> list[dict[str, Any]]:
        """The next `count` questions, one by one over the epochs, whole ones: however many are asked for at a time,
        they are the same. For a trainer that asks while it trains.
        """
        questions: list[dict[str, Any]] = []
        for _ in range(count):
            if not self._left():
                self._end_epoch()
            questions += self.take(1)
        return questions

    def peek(self, count: int) -> list[dict[str, Any]]:
        """The next `count` questions, which are still to be taken; fewer at the end of an epoch."""
        count = min(count, self._left())
        self._fetch(count)
        return self._ahead.wait()[:count]

    def take(self, count: int) -> list[dict[str, Any]]:
        """The next `count` questions; fewer at the end of an epoch."""
        # Not past the end: a dataloader that has raised StopIteration saves its state as that of the next epoch.
        count = min(count, self._left())
        questions = self._ahead.take(count)
        questions += itertools.islice(self._rest(), count - len(questions))
        self.drawn += len(questions)
        return questions

    def prefetch(self) -> None:
        """Begin to fetch the next step's questions, as far as they are in this epoch, while the running one trains."""
        self._fetch(min(self.questions_per_step, self._left()))

    def state_dict(self) -> dict[str, Any]:
        """Saved by verl in the checkpoint's `data.pt`. Questions that were fetched and not taken are still to come."""
        if before := self._ahead.before:  # the dataloader's is that of a later question
            return {**before, "drawn": self.drawn, "taken_since": self.drawn - before["drawn"]}
        return {"dataloader": self.dataloader.state_dict(), "epoch": self.epoch, "drawn": self.drawn, "taken_since": 0}

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
        self._questions, self._ahead = None, Ahead()  # verl and `RayCPPOTrainer` each load the same state
        self.dataloader.load_state_dict(state["dataloader"])
        self.epoch, self.drawn = state["epoch"], state["drawn"]
        if taken := state.get("taken_since"):
            list(itertools.islice(self._rest(), taken))

    def _fetch(self, count: int) -> None:
        """Have as many of the next questions ahead."""
        if missing := max(count - self._ahead.number, 0):
            before = self._ahead.before or self.state_dict()
            self._ahead.fetch(self._rest(), missing, before)

    def _left(self) -> int:
        return len(self.dataloader) - self.drawn

    def _rest(self) -> Iterator[dict[str, Any]]:
        if self._questions is None:
            self._questions = iter(self.dataloader)
        return self._questions

    def _end_epoch(self) -> None:
        self._ahead.take(self._left())
        for _ in self._rest():
            pass  # to its end, so that the next epoch's order is the same with and without a resume
        self.epoch, self.drawn, self._questions = self.epoch + 1, 0, None

"""The stream of questions, over verl's own kind of dataloader."""

import itertools

import pytest
import torch
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.sampler import RandomSampler

from cppo_verl.algorithm.options import ConfigError
from cppo_verl.trainer.questions import QuestionStream

QUESTIONS, PER_STEP, EPOCHS = 11, 3, 3


def new_stream(questions: int = QUESTIONS) -> QuestionStream:
    generator = torch.Generator()
    generator.manual_seed(1)
    data = list(range(questions))
    sampler = RandomSampler(data, generator=generator)
    loader = StatefulDataLoader(data, batch_size=1, sampler=sampler, drop_last=True)
    return QuestionStream(loader, PER_STEP, EPOCHS)


def steps(stream: QuestionStream, extra_every: int = 0) -> list[tuple[int, list[int]]]:
    """(epoch, questions) of each step; every `extra_every`-th step draws two more, as a further round does."""
    drawn = []
    for number, step in enumerate(stream):
        extra = 2 if extra_every and number % extra_every == 0 else 0
        drawn.append((step.epoch, [int(q) for q in step.take(PER_STEP) + step.take(extra)]))
    return drawn


def test_epochs_are_counted_in_questions():
    drawn = steps(new_stream())
    assert len(new_stream()) == QUESTIONS // PER_STEP == 3
    assert [epoch for epoch, _ in drawn] == [0] * 3 + [1] * 3 + [2] * 3
    for _, of_epoch in itertools.groupby(drawn, key=lambda step: step[0]):
        questions = [q for _, step in of_epoch for q in step]
        assert len(set(questions)) == len(questions) == 9
    assert drawn[0][1] != drawn[3][1], "each epoch in an order of its own"


def test_further_rounds_shorten_an_epoch():
    epochs = [epoch for epoch, _ in steps(new_stream(), extra_every=1)]
    assert epochs == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("parts", [[2], [1, 1], [1, 1, 3], [2, 3], [5], [1, 4], [11], [3, 11, 5]])
def test_what_is_drawn_does_not_depend_on_how_many_at_a_time(parts):
    """Over the end of an epoch, too: the steps' own, and some in place of others."""
    stream, one_by_one = new_stream(), new_stream()
    counts = PER_STEP, PER_STEP, PER_STEP, *parts, PER_STEP
    found = [int(question) for count in counts for question in stream.draw(count)]
    assert found == [int(question) for _ in range(sum(counts)) for question in one_by_one.draw(1)]
    assert (stream.epoch, stream.drawn) == (one_by_one.epoch, one_by_one.drawn)
    assert len(set(found[:QUESTIONS])) == QUESTIONS, "an epoch is drawn to its end"


def test_a_resume_draws_what_follows():
    stream, whole = new_stream(), [int(q) for q in new_stream().draw(3 * QUESTIONS)]
    for done in range(1, 2 * QUESTIONS):
        assert int(stream.draw(1)[0]) == whole[done - 1]
        resumed = new_stream()
        resumed.load_state_dict(stream.state_dict())
        assert [int(q) for q in resumed.draw(QUESTIONS)] == whole[done : done + QUESTIONS], f"after {done}"


def test_take_ends_with_the_epoch():
    stream = new_stream()
    next(iter(stream))
    assert len(stream.take(QUESTIONS + 5)) == QUESTIONS
    assert stream.take(1) == []


def test_has_next_step():
    stream = new_stream()
    ahead = []
    for step in stream:
        step.take(PER_STEP)
        ahead.append(step.has_next_step())
    assert ahead == [True] * 8 + [False]


@pytest.mark.parametrize("extra_every", [0, 2])
@pytest.mark.parametrize("done", range(1, 7))
@pytest.mark.parametrize("questions", [11, 12])
def test_resume_draws_the_same_questions(questions, done, extra_every):
    """Also where the checkpoint stands at the end of an epoch, with and without questions left over."""
    undisturbed = steps(new_stream(questions), extra_every)
    stream = new_stream(questions)
    for number, step in enumerate(stream):
        step.take(PER_STEP)
        step.take(2 if extra_every and number % extra_every == 0 else 0)
        if number + 1 == done:
            break
    resumed = new_stream(questions)
    resumed.load_state_dict(stream.state_dict())
    rest = []
    for number, step in enumerate(resumed, start=done):
        extra = 2 if extra_every and number % extra_every == 0 else 0
        rest.append((step.epoch, [int(q) for q in step.take(PER_STEP) + step.take(extra)]))
    assert rest == undisturbed[done:]


def test_the_place_of_verls_own_dataloader_is_refused():
    with pytest.raises(ConfigError, match=r"has no dataloader, drawn, epoch: it is of verl's own trainer"):
        new_stream().load_state_dict(new_stream().dataloader.state_dict())

"""The stream of questions, over verl's own kind of dataloader."""

import itertools
import threading

import pytest
import torch
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.sampler import RandomSampler

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.planning import plan_step
from cppo_verl.trainer.questions import QuestionStream, one_by_one, steps_of_run

QUESTIONS, PER_STEP, STEPS = 11, 3, 9


def new_stream(questions: int = QUESTIONS) -> QuestionStream:
    generator = torch.Generator()
    generator.manual_seed(1)
    data = list(range(questions))
    sampler = RandomSampler(data, generator=generator)
    loader = StatefulDataLoader(data, batch_size=PER_STEP, sampler=sampler, drop_last=True)
    return QuestionStream(one_by_one(loader), PER_STEP)


def steps(
    stream: QuestionStream, extra_every: int = 0, first: int = 0, until: int = STEPS, ahead: bool = False
) -> list[tuple[int, list[int]]]:
    """(epoch, questions) of each step; every `extra_every`-th step draws two more, as a further round does.

    Args:
        stream: What they are drawn from.
        extra_every: 0 for none.
        first: Steps done before.
        until: Steps done afterwards, at the most.
        ahead: Whether the next step's questions are fetched when a step has its own.
    """
    drawn = []
    while first + len(drawn) < until:
        stream.begin_step()
        extra = 2 if extra_every and (first + len(drawn)) % extra_every == 0 else 0
        drawn.append((stream.epoch, [int(q) for q in stream.take(PER_STEP) + stream.take(extra)]))
        if ahead:
            stream.prefetch()
    return drawn


def test_epochs_are_counted_in_questions():
    drawn = steps(new_stream())
    assert len(new_stream()) == QUESTIONS // PER_STEP == 3
    assert [epoch for epoch, _ in drawn] == [0] * 3 + [1] * 3 + [2] * 3
    for _, of_epoch in itertools.groupby(drawn, key=lambda step: step[0]):
        questions = [q for _, step in of_epoch for q in step]
        assert len(set(questions)) == len(questions) == 9
    assert drawn[0][1] != drawn[3][1], "each epoch in an order of its own"


def test_further_rounds_shorten_an_epoch_and_the_steps_go_on():
    epochs = [epoch for epoch, _ in steps(new_stream(), extra_every=1)]
    assert epochs == [0, 0, 1, 1, 2, 2, 3, 3, 4], "as many steps as planned"


@pytest.mark.parametrize("parts", [[2], [1, 1], [1, 1, 3], [2, 3], [5], [1, 4], [11], [3, 11, 5]])
def test_what_is_drawn_does_not_depend_on_how_many_at_a_time(parts):
    """Over the end of an epoch, too: the steps' own, and some in place of others."""
    stream, one_by_one = new_stream(), new_stream()
    counts = PER_STEP, PER_STEP, PER_STEP, *parts, PER_STEP
    found = [int(question) for count in counts for question in stream.draw(count)]
    assert found == [int(question) for _ in range(sum(counts)) for question in one_by_one.draw(1)]
    assert (stream.epoch, stream.drawn) == (one_by_one.epoch, one_by_one.drawn)
    assert len(set(found[:QUESTIONS])) == QUESTIONS, "an epoch is drawn to its end"


@pytest.mark.parametrize("ahead", [False, True])
def test_a_resume_draws_what_follows(ahead):
    """Also where the next step's were fetched already."""
    stream, whole = new_stream(), [int(q) for q in new_stream().draw(3 * QUESTIONS)]
    for done in range(1, 2 * QUESTIONS):
        assert int(stream.draw(1)[0]) == whole[done - 1]
        resumed = new_stream()
        if ahead:
            stream.prefetch()
        resumed.load_state_dict(stream.state_dict())
        if ahead:
            resumed.prefetch()
        assert [int(q) for q in resumed.draw(QUESTIONS)] == whole[done : done + QUESTIONS], f"after {done}"


def test_take_ends_with_the_epoch():
    stream = new_stream()
    assert len(stream.take(QUESTIONS + 5)) == QUESTIONS
    assert stream.take(1) == []


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("extra_every", [0, 2])
@pytest.mark.parametrize("done", range(1, 7))
@pytest.mark.parametrize("questions", [11, 12])
def test_resume_draws_the_same_questions(questions, done, extra_every, ahead):
    """Also where the checkpoint stands at the end of an epoch, with and without questions left over, and where the
    next step's are fetched already when it is saved."""
    undisturbed = steps(new_stream(questions), extra_every)
    stream = new_stream(questions)
    assert steps(stream, extra_every, until=done, ahead=ahead) == undisturbed[:done]
    resumed = new_stream(questions)
    resumed.load_state_dict(stream.state_dict())
    assert steps(resumed, extra_every, first=done, ahead=ahead) == undisturbed[done:]


@pytest.mark.parametrize("done", range(1, 9))
def test_a_place_that_is_loaded_twice_is_the_same(done):
    """As on V0, where verl loads it and the trainer once more; in steps that look further than they take."""

    def step(stream: QuestionStream) -> list[int]:
        stream.begin_step()
        stream.peek(PER_STEP)
        drawn = [int(question) for question in stream.take(PER_STEP - 1)]
        stream.prefetch()
        return drawn

    undisturbed = new_stream()
    for _ in range(done):
        step(undisturbed)
    state = undisturbed.state_dict()
    resumed = new_stream()
    resumed.load_state_dict(state)
    resumed.load_state_dict(state)
    assert [step(resumed) for _ in range(8)] == [step(undisturbed) for _ in range(8)]
    again = new_stream()
    again.load_state_dict(resumed.state_dict())
    assert [step(again) for _ in range(4)] == [step(undisturbed) for _ in range(4)]


def test_the_place_of_verls_own_dataloader_is_refused():
    with pytest.raises(ConfigError, match=r"has no dataloader, drawn, epoch: it is of verl's own trainer"):
        new_stream().load_state_dict(new_stream().dataloader.state_dict())


def test_what_is_looked_at_is_taken_later():
    stream, other = new_stream(), new_stream()
    assert stream.peek(4) == stream.peek(4) and stream.drawn == 0
    resumed = new_stream()
    resumed.load_state_dict(stream.state_dict())
    drawn = stream.take(2)
    assert len(stream.peek(100)) == QUESTIONS - 2, "to the end of the epoch"
    drawn += stream.take(100)
    assert drawn == resumed.take(100) == other.take(100)


def test_a_resume_between_questions_that_were_fetched_together():
    stream = new_stream()
    taken = stream.take(1)
    stream.prefetch()
    taken += stream.take(2)
    resumed = new_stream()
    resumed.load_state_dict(stream.state_dict())
    assert resumed.take(4) == stream.take(4)
    assert stream.drawn == resumed.drawn == 7


def test_what_is_fetched_ahead_is_fetched_once_and_by_another_thread():
    """While a step trains: nobody waits for it but `take`."""
    threads = []

    class Questions(list):
        def __getitem__(self, at: int) -> int:
            threads.append((at, threading.current_thread() is threading.main_thread()))
            return at

    stream = QuestionStream(StatefulDataLoader(Questions(range(6)), batch_size=1), PER_STEP)
    stream.take(PER_STEP)
    stream.prefetch()
    stream.prefetch()
    assert [int(q) for q in stream.take(PER_STEP)] == [3, 4, 5]
    assert threads == [(at, at < PER_STEP) for at in range(6)]


def test_what_goes_wrong_ahead_is_raised_where_it_is_missing():
    class Questions(list):
        def __getitem__(self, at: int) -> int:
            return super().__getitem__(at) if at < PER_STEP else self.lost[at]

    stream = QuestionStream(StatefulDataLoader(Questions(range(6)), batch_size=1), PER_STEP)
    stream.take(PER_STEP)
    stream.prefetch()
    with pytest.raises(AttributeError, match="lost"):
        stream.take(PER_STEP)


@pytest.mark.parametrize(("asked", "steps"), [(None, 6), (5, 5), (6, 6)])
def test_a_run_has_the_steps_asked_for_or_all_of_its_epochs(asked, steps):
    assert steps_of_run(plan_step(0, 4, 8, 8), num_questions=25, epochs=2, asked=asked) == steps


def test_more_steps_than_the_prompts_that_are_left_have_are_refused():
    """How many are left out for their length is known only when they are read."""
    with pytest.raises(ConfigError, match=r"steps=7, but 2 epoch.* 25 questions .* 6 steps; set it to 6 or less"):
        steps_of_run(plan_step(0, 4, 8, 8), num_questions=25, epochs=2, asked=7)

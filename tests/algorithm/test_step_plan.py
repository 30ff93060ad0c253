"""The plan of a step: the paper's table, its invariants on every request, and refusals that help."""

from fractions import Fraction
from typing import NamedTuple, get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.options import MiniBatch, as_written
from cppo_verl.algorithm.planning import plan_step
from cppo_verl.algorithm.step_plan import StepPlan, largest_divisor

OPTION_OF = {
    "rate": "cppo.pruning_rate",
    "n": "actor_rollout_ref.rollout.n",
    "batch": "data.train_batch_size",
    "mini": "actor_rollout_ref.actor.ppo_mini_batch_size",
}
MINI_BATCHES = st.sampled_from(get_args(MiniBatch))


class Request(NamedTuple):
    rate: Fraction
    n: int
    batch: int
    mini: int
    dp: int
    allocation: bool
    mini_batch: str

    def plan(self) -> StepPlan:
        return plan_step(*self[:5], allocation=self.allocation, mini_batch=self.mini_batch)

    @property
    def updates(self) -> Fraction:
        """Of a step: those of GRPO's questions, or of as many questions each as GRPO's."""
        longer = self.allocation and self.mini_batch == "questions"
        return Fraction(self.batch, self.mini) / (1 - self.rate if longer else 1)

    @property
    def possible(self) -> bool:
        """The step in fractions: every count of the step is whole, at least 1, and equal on every rank."""
        if not 0 <= self.rate < 1 or min(self[1:5]) < 1:
            return False
        keep = self.n * (1 - self.rate)
        questions = self.batch / (1 - self.rate) if self.allocation else Fraction(self.batch)
        mini_batch_rows = questions * keep / self.updates
        updates = Fraction(self.batch, self.mini), self.updates
        counts = keep, questions, *updates, mini_batch_rows, mini_batch_rows / self.dp
        return all(count.denominator == 1 and count >= 1 for count in counts)


def assert_invariants(plan: StepPlan, asked: Request) -> None:
    counts = plan.keep, plan.questions, plan.rows, plan.mini_batch_rows, plan.mini_batches
    assert all(type(count) is int and count >= 1 for count in counts)
    assert (plan.rollout_n, plan.dp_size) == (asked.n, asked.dp)
    assert plan.keep == asked.n * (1 - asked.rate)
    assert plan.rows == plan.questions * plan.keep
    assert plan.sampled == plan.questions * asked.n
    if asked.allocation:
        assert plan.rows == asked.batch * asked.n
        assert plan.questions == asked.batch / (1 - asked.rate)
    else:
        assert plan.questions == asked.batch
    assert plan.mini_batches == asked.updates
    if asked.mini_batch == "questions" or not asked.allocation:
        assert plan.questions_per_update == asked.mini
        assert Fraction(plan.mini_batches, plan.questions) == Fraction(1, asked.mini)  # GRPO's updates an epoch
    else:
        assert plan.mini_batch_rows == asked.mini * asked.n
    assert plan.mini_batches * plan.mini_batch_rows == plan.rows
    assert plan.rows % asked.dp == plan.mini_batch_rows % asked.dp == 0


@st.composite
def requests(draw, smallest=1) -> Request:
    """Any request, most of them impossible, P of 1 and above included."""
    n, mini, dp = (draw(st.integers(smallest, size)) for size in (16, 8, 4))
    batch = draw(st.one_of(st.integers(smallest, 16), st.integers(1, 4).map(lambda updates: mini * updates)))
    whole = st.integers(0, n).map(lambda keep: 1 - Fraction(keep, max(n, 1)))
    rate = draw(st.one_of(whole, st.fractions(0, Fraction(3, 2), max_denominator=20)))
    return Request(rate, n, batch, mini, dp, draw(st.booleans()), draw(MINI_BATCHES))


def divisors(number: int) -> st.SearchStrategy[int]:
    return st.sampled_from([d for d in range(1, number + 1) if number % d == 0])


@st.composite
def possible_requests(draw) -> Request:
    n, mini, allocation = draw(st.integers(1, 32)), draw(st.integers(1, 16)), draw(st.booleans())
    batch = mini * draw(st.integers(1, 4))
    mini_batch = draw(MINI_BATCHES)
    unit = mini if mini_batch == "questions" else 1
    fits = [k for k in range(1, n + 1) if not allocation or (batch * n % k == 0 and batch * n // k % unit == 0)]
    keep = draw(st.sampled_from(fits))
    dp = draw(divisors(mini * (n if allocation and mini_batch == "completions" else keep)))
    return Request(1 - Fraction(keep, n), n, batch, mini, dp, allocation, mini_batch)


@given(possible_requests())
def test_what_is_possible_is_planned(asked):
    assert asked.possible
    assert_invariants(asked.plan(), asked)


@given(requests(smallest=0))
@settings(max_examples=300)
def test_what_is_impossible_is_refused(asked):
    if asked.possible:
        assert_invariants(asked.plan(), asked)
    else:
        with pytest.raises(ConfigError):
            asked.plan()


@pytest.mark.parametrize("rate", [-1, "-0.5", -0.25])
def test_a_negative_rate_is_refused(rate):
    with pytest.raises(ConfigError):
        plan_step(rate, 16, 8, 8, allocation=False)


@given(requests())
@settings(max_examples=200)
def test_a_refusal_names_the_nearest_changes_that_work(asked):
    assume(not asked.possible)
    with pytest.raises(ConfigError) as refusal:
        asked.plan()
    named = changes(str(refusal.value))
    for field in OPTION_OF:
        value = getattr(asked, field)
        works = {other for other in neighbours(asked, field) if asked._replace(**{field: other}).possible}
        if field not in named:
            assert not works
            continue
        changed = asked._replace(**{field: named[field]})
        assert_invariants(changed.plan(), changed)
        assert all(abs(named[field] - value) <= abs(other - value) for other in works)


def neighbours(asked: Request, field: str) -> list:
    if field == "rate":
        return [1 - Fraction(keep, asked.n) for keep in range(1, asked.n + 1)]
    return list(range(1, 4 * getattr(asked, field) + 1))


def changes(message: str) -> dict[str, Fraction]:
    """The changes that a refusal names, as fields of a `Request`."""
    field_of = {option: field for field, option in OPTION_OF.items()}
    named = message.partition("Nearest that works: ")[2]
    pairs = (change.split("=") for change in named.split(", or ") if change)
    return {field_of[option]: as_written(v) if "rate" in option else int(v) for option, v in pairs}


@pytest.mark.parametrize(
    "rate, keep, questions", [(0, 16, 8), (0.5, 8, 16), (0.75, 4, 32), (0.875, 2, 64), (0.9375, 1, 128)]
)
def test_the_table_of_the_paper(rate, keep, questions):
    assert plan_step(rate, 16, 8, 8, dp_size=2, mini_batch="completions") == StepPlan(16, keep, questions, 128, 128, 2)
    assert plan_step(rate, 16, 8, 4, allocation=False) == StepPlan(16, keep, 8, 8 * keep, 4 * keep, 1)
    assert plan_step(rate, 16, 8, 4, mini_batch="questions") == StepPlan(16, keep, questions, 128, 4 * keep, 1)


@pytest.mark.parametrize(
    "rate, allocation, nearest",
    [(0.9, True, "0.875"), (0.9, False, "0.875"), (0.8, True, "0.75"), (0.8, False, "0.8125")],
)
def test_rates_that_the_authors_code_truncates_are_refused(rate, allocation, nearest):
    with pytest.raises(ConfigError, match=f"P={rate}, G=16.*cppo.pruning_rate={nearest}(,|$)"):
        plan_step(rate, 16, 8, 8, allocation=allocation)


def test_a_rate_is_taken_as_written():
    for percent in range(100):
        assert plan_step(percent / 100, 100, 8, 8, allocation=False).keep == 100 - percent
    assert plan_step(0.9, 20, 8, 8) == plan_step("9/10", 20, 8, 8)
    assert plan_step(0.875, 16, 8, 8) == plan_step("7/8", 16, 8, 8)


@given(possible_requests())
def test_no_pruning_is_grpo(asked):
    plan = asked._replace(rate=Fraction(0), dp=1).plan()
    assert (plan.keep, plan.questions, plan.rows) == (asked.n, asked.batch, asked.batch * asked.n)
    assert plan.mini_batch_rows == asked.mini * asked.n


@given(possible_requests(), st.data())
def test_trim(asked, data):
    plan = asked.plan()
    available = data.draw(st.integers(0, 2 * plan.rows))
    rows, mini_batch_rows = plan.trim(available)
    assert 0 <= rows <= min(available, plan.rows)
    assert rows % plan.dp_size == 0
    if rows == 0:
        assert mini_batch_rows == 0 and available < plan.dp_size
    else:
        updates = rows // mini_batch_rows
        assert rows % mini_batch_rows == mini_batch_rows % plan.dp_size == 0
        assert mini_batch_rows <= plan.mini_batch_rows and updates == -(-rows // plan.mini_batch_rows)
        assert min(available, plan.rows) - rows < (updates + 1) * plan.dp_size, "no more than cannot be shared is left"
    assert plan.trim(rows) == (rows, mini_batch_rows)
    assert plan.trim(available + 1)[0] >= rows


@pytest.mark.parametrize(
    ("available", "rows", "mini_batch_rows"),
    [(256, 256, 128), (255, 254, 127), (130, 130, 65), (129, 128, 128), (128, 128, 128), (127, 127, 127), (0, 0, 0)],
)
def test_a_missing_row_does_not_cost_a_mini_batch(available, rows, mini_batch_rows):
    assert StepPlan(16, 16, 16, 256, 128, dp_size=1).trim(available) == (rows, mini_batch_rows)


@given(possible_requests(), st.integers(1, 50), st.data())
def test_steps_per_epoch(asked, steps, data):
    plan = asked.plan()
    remainder = data.draw(st.integers(0, plan.questions - 1))
    assert plan.steps_per_epoch(steps * plan.questions + remainder) == steps
    with pytest.raises(ConfigError, match=r"lower cppo\.pruning_rate or data\.train_batch_size"):
        plan.steps_per_epoch(remainder)


def test_allocation_shortens_the_epoch():
    steps = {rate: plan_step(rate, 16, 8, 8).steps_per_epoch(7473) for rate in (0, 0.5, 0.75, 0.875, 0.9375)}
    assert steps == {0: 934, 0.5: 467, 0.75: 233, 0.875: 116, 0.9375: 58}


def test_updates_of_an_epoch():
    """GRPO's divided by 1/(1-P) with as many completions each, all of them with as many questions each."""
    rates = (0, 0.5, 0.75, 0.875, 0.9375)
    updates = {
        mini_batch: [plan_step(rate, 16, 8, 8, mini_batch=mini_batch).updates_per_epoch(2**10, 2) for rate in rates]
        for mini_batch in get_args(MiniBatch)
    }
    assert updates == {"completions": [256, 128, 64, 32, 16], "questions": [256] * 5}


@given(possible_requests())
def test_cycles_share_a_step(asked):
    plan = asked.plan()
    cycles = asked.batch // asked.mini  # what verl's separate_async asks for
    if plan.questions % cycles or plan.mini_batches % cycles:
        with pytest.raises(ConfigError, match="does not split"):
            plan.share(cycles)
    else:
        part = plan.share(cycles)
        assert (part.questions * cycles, part.rows * cycles) == (plan.questions, plan.rows)
        assert (part.mini_batches * cycles, part.mini_batch_rows) == (plan.mini_batches, plan.mini_batch_rows)


@pytest.mark.parametrize(
    "asked, why",
    [
        ((0.5, 16, 8, 1, 16), "a mini-batch of 1.8 = 8 completions does not split over 16 ranks"),
        (("5/8", 16, 6, 6, 1), "the 16 questions of a step do not split into mini-batches of ppo_mini_batch_size=6"),
        ((0.9375, 16, 8, 1, 2), "a mini-batch of 1.1 = 1 completions does not split over 2 ranks"),
    ],
)
def test_mini_batches_of_too_few_rows_or_questions_are_refused(asked, why):
    with pytest.raises(ConfigError, match=f"{why}.*Nearest that works: "):
        plan_step(*asked, mini_batch="questions")
    plan_step(*asked[:4], 1, mini_batch="completions")


@pytest.mark.parametrize(
    "asked, nearest",
    [
        ((0, 16, 4, 10**9), "ppo_mini_batch_size=4"),
        ((0.9, 16, 10**5, 8), "cppo.pruning_rate=0.875"),
        ((0, 10**5, 6, 4), "data.train_batch_size=4, or .*ppo_mini_batch_size=3"),
        ((0.3, 10**9, 10**9, 10**9 - 1, 7), "Nearest|No single nearby change works"),
        (("1/3", 10**9, 8, 8), "rollout.n=999999999"),
    ],
)
def test_large_numbers_are_refused_without_long_search(asked, nearest):
    with pytest.raises(ConfigError, match=nearest):
        plan_step(*asked, mini_batch="completions")


@given(st.integers(1, 10**4), st.integers(-1, 10**4))
def test_the_largest_divisor(number, most):
    assert largest_divisor(number, most) == max(
        d for d in range(1, number + 1) if number % d == 0 and d <= max(most, 1)
    )


def test_the_largest_divisor_of_large_numbers():
    assert largest_divisor(16 * 10**9, 10**8 + 7) == 10**8
    assert largest_divisor(10**9 + 7, 10**9) == 1, "a prime"

"""Reward for GSM8K: format 0/1 plus accuracy 2 / 1.5 / 0."""

from __future__ import annotations

from cppo_verl.rewards.numbers import drop_thousands_commas, find_numbers, gold_text, only_number, plain_number
from cppo_verl.rewards.result import Outcome, result
from cppo_verl.rewards.tags import MAX_CHARS, has_format, last_answer, whole_turn

EXACT, SAME_NUMBER = 2.0, 1.5


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict | None = None,
    *,
    credit_last_number: bool = False,
    **_: object,
) -> dict[str, float | str]:
    """Score one completion; the signature is the one verl calls.

    Args:
        data_source: not used; verl passes it.
        solution_str: the completion, without the prompt.
        ground_truth: the gold number as a string.
        extra_info: of it `tags.OPENING` is read: the tag that the chat template opened, before the completion.
        credit_last_number: also give 1.5 when the last number anywhere in the completion equals the gold,
            tags or no tags (the authors' verl version); of a long completion the last `MAX_CHARS` characters
            are read. Set it through verl's `reward_kwargs`.

    Returns:
        `score` (format + accuracy, 0 to 3), `acc` (1.0 if the accuracy reward is positive), `format` (0.0 or 1.0),
        `verify_failed` (1.0 when the gold is no number to compare with) and `outcome`, the reason in a word;
        always these keys, which are `rewards.math`'s. Never raises on any text.

    Raises:
        TypeError: the gold is neither text nor a number.
    """
    gold = gold_text(ground_truth)
    solution_str = whole_turn(solution_str, extra_info)
    layout = float(has_format(solution_str))
    accuracy, outcome = judge(last_answer(solution_str), gold)
    if credit_last_number and not accuracy and _last_number_is(gold, solution_str):
        accuracy, outcome = SAME_NUMBER, "equal"
    return result(layout + accuracy, layout, outcome)


def judge(answer: str | None, gold: str) -> tuple[float, Outcome]:
    """The accuracy reward and its reason: 2 for the gold string, 1.5 when each side holds exactly one number and
    they are equal, else 0."""
    if not answer:
        return 0.0, "no_answer"
    if len(answer) > MAX_CHARS:
        return 0.0, "too_long"
    if drop_thousands_commas(answer) == drop_thousands_commas(gold):
        return EXACT, "equal"
    number, wanted = only_number(answer), only_number(gold)
    if wanted is None:
        return 0.0, "bad_gold"
    if number is None:
        return 0.0, "unparseable"
    return (SAME_NUMBER, "equal") if number == wanted else (0.0, "different")


def extract_answer(completion: str) -> str | None:
    """The answer as a vote counts it: its only number as `plain_number`, else its text; None without an answer."""
    return as_vote(last_answer(completion))


def as_vote(answer: str | None) -> str | None:
    """An answer as a vote counts it; see `extract_answer`."""
    answer = drop_thousands_commas(answer or "")
    number = only_number(answer)
    return " ".join(answer.split()) or None if number is None else plain_number(number)


def parse_gold(answer: str) -> str:
    """The gold of a GSM8K solution: what follows the last `####`, without thousands commas.

    Raises:
        ValueError: there is no `####`, or not exactly one number after it.
    """
    _, marker, gold = answer.rpartition("####")
    if not marker:
        raise ValueError("the answer has no '####'")
    gold = drop_thousands_commas(gold)
    if only_number(gold) is None:
        raise ValueError(f"the gold after '####' is not one number: {gold[:80]!r}")
    return gold


def _last_number_is(gold: str, completion: str) -> bool:
    read = completion if len(completion) <= MAX_CHARS else completion[-MAX_CHARS:].partition(" ")[2]  # no half a number
    numbers = find_numbers(read)
    return bool(numbers) and numbers[-1] is not None and numbers[-1] == only_number(gold)

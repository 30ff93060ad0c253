"""Reward for GSM8K: format 0/1 plus accuracy 2 / 1.5 / 0."""

from __future__ import annotations

import re
from decimal import Decimal

from cppo_verl.rewards.tags import has_format, last_answer

EXACT, SAME_NUMBER = 2.0, 1.5

# ASCII digits only: `\d` would also read other scripts' digits. A hyphen inside a word is not a sign.
_NUMBER = re.compile(r"(?:(?<!\w)[-+\u2212])?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)")
_GROUPED = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])")


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict | None = None,
    *,
    credit_last_number: bool = False,
    **_: object,
) -> dict[str, float]:
    """Score one completion; the signature is the one verl calls.

    Args:
        data_source: not used; verl passes it.
        solution_str: the completion, without the prompt.
        ground_truth: the gold number as a string.
        extra_info: not used; verl passes it.
        credit_last_number: also give 1.5 when the last number anywhere in the completion equals the gold,
            tags or no tags (the authors' verl version). Set it through verl's `reward_kwargs`.

    Returns:
        `score` (format + accuracy, 0 to 3), `acc` (1.0 if the accuracy reward is positive) and
        `format` (0.0 or 1.0); always these keys. Never raises on any text.
    """
    layout = float(has_format(solution_str))
    accuracy = accuracy_reward(last_answer(solution_str), ground_truth)
    if credit_last_number and not accuracy:
        numbers = find_numbers(solution_str)
        accuracy = SAME_NUMBER * (bool(numbers) and numbers[-1:] == find_numbers(ground_truth))
    return {"score": layout + accuracy, "acc": float(accuracy > 0), "format": layout}


def accuracy_reward(answer: str | None, gold: str) -> float:
    """2 for the gold string, 1.5 when each side holds exactly one number and they are equal, else 0."""
    if answer is None:
        return 0.0
    if drop_thousands_commas(answer) == drop_thousands_commas(gold):
        return EXACT
    numbers = find_numbers(answer)
    return SAME_NUMBER * (len(numbers) == 1 and numbers == find_numbers(gold))


def find_numbers(text: str) -> list[Decimal]:
    """Every number in the text, in order, exactly (no float: 100 digits stay 100 digits)."""
    plain = drop_thousands_commas(text)
    return [Decimal(found.replace("\u2212", "-")) for found in _NUMBER.findall(plain)]


def drop_thousands_commas(text: str) -> str:
    """Trimmed text with `1,234,567` as `1234567`; a comma that groups no thousands stays (`1,2` is no 12)."""
    return _GROUPED.sub(lambda found: found[0].replace(",", ""), text).strip()


def extract_answer(completion: str) -> str | None:
    """The answer as a vote counts it: its only number as `plain_number`, else its text; None without an answer."""
    answer = drop_thousands_commas(last_answer(completion) or "")
    numbers = find_numbers(answer)
    return plain_number(numbers[0]) if len(numbers) == 1 else " ".join(answer.split()) or None


def plain_number(number: Decimal) -> str:
    """The shortest way to write it in digits: `18.0`, `018` and `+18` are 18."""
    whole, _, decimals = f"{number:f}".partition(".")
    plain = f"{whole}.{decimals.rstrip('0')}".rstrip(".")
    return "0" if plain == "-0" else plain


def parse_gold(answer: str) -> str:
    """The gold of a GSM8K solution: what follows the last `####`, without thousands commas.

    Raises:
        ValueError: there is no `####`, or not exactly one number after it.
    """
    _, marker, gold = answer.rpartition("####")
    if not marker:
        raise ValueError("the answer has no '####'")
    gold = drop_thousands_commas(gold)
    if len(find_numbers(gold)) != 1:
        raise ValueError(f"the gold after '####' is not one number: {gold[:80]!r}")
    return gold

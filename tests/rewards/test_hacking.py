"""docs/rewards.md says what the rewards give for the tricks of a model that games them: it is true."""

import json
from pathlib import Path

import pytest

from cppo_verl.rewards import gsm8k, math, olympiad

PAGE = Path(__file__).parents[2] / "docs/rewards.md"
GOLD = "72"
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("|") and '`"' in line
]


def test_the_table_is_found():
    assert len(ROWS) > 30


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_trick_earns_what_the_page_says(row):
    _, written, of_gsm8k, of_last_number, of_math, why = row
    completion = json.loads(written.strip("`"))
    assert gsm8k.compute_score("", completion, GOLD)["score"] == float(of_gsm8k), why
    assert gsm8k.compute_score("", completion, GOLD, credit_last_number=True)["score"] == float(of_last_number), why
    assert math.compute_score("", completion, GOLD)["score"] == float(of_math), why
    assert olympiad.compute_score("", completion, GOLD)["score"] == float(of_math), why

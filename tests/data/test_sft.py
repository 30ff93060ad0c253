"""Demonstrations from worked solutions: each earns the full reward, or is reported."""

from __future__ import annotations

import gzip
import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from cppo_verl.data.sft import boxed_sentence, demonstrate, main, without_calculator
from cppo_verl.rewards import gsm8k, math

MATH = "DigitalLearningGmbH/MATH-lighteval"


def prepared(source: str, solution: str, gold: str, question: str = "How many?") -> dict:
    """A row as the preparation scripts write it."""
    return {
        "data_source": source,
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}],
        "reward_model": {"style": "rule", "ground_truth": gold},
        "extra_info": {"split": "train", "index": 0, "question": question, "answer": solution},
    }


def test_gsm8k():
    row = prepared("openai/gsm8k", "He sold 48/2 = <<48/2=24>>24 clips.\nSo 24.\n#### 24", "24")
    made = demonstrate(row)
    text = "<think>He sold 48/2 = 24 clips.\nSo 24.</think>\n<answer>24</answer>"
    assert made["messages"] == [*row["prompt"], {"role": "assistant", "content": text}]
    assert made["extra_info"] == {"split": "train", "index": 0, "question": "How many?"}


def test_math():
    solution = r"Half of one is $\boxed{\frac12}$."
    (*_, answer) = demonstrate(prepared(MATH, solution, r"\frac12"))["messages"]
    sentence = r"Therefore, the final answer is: $\boxed{\frac12}$. I hope it is correct"
    assert answer == {"role": "assistant", "content": f"<think>{solution}</think>\n<answer>{sentence}</answer>"}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (prepared("openai/gsm8k", "Four</think>.\n#### 4", "4"), "earns 2 of 3 .format 0, answer equal"),
        (prepared("openai/gsm8k", "#### ", "none"), "no worked solution"),
        (prepared("GAIR/LIMR", "4", "4"), "no worked solutions are known of 'GAIR/LIMR'; there are those of openai/"),
    ],
)
def test_a_row_that_gives_no_demonstration(row, says):
    with pytest.raises(ValueError, match=says):
        demonstrate(row)


def test_bad_rows_stop_the_preparation_unless_left_out(tmp_path, capsys):
    good = [prepared("openai/gsm8k", f"{n}.\n#### {n}", str(n), f"Question {n}") for n in range(4)]
    rows = tmp_path / "rows.parquet"
    pd.DataFrame([*good, prepared("openai/gsm8k", "<answer>5.\n#### 5", "5", "Question 5")]).to_parquet(rows)
    given = ["--local_dir", str(tmp_path / "sft"), "--rows", str(rows)]
    assert main("", given) == 1
    said = capsys.readouterr().err
    assert f"bad row: {rows} row 5: the worked solution earns 2 of 3" in said
    assert "nothing written; 1 bad row(s): mend these rows or pass --drop-bad-rows" in said
    assert not (tmp_path / "sft").exists()

    assert main("", [*given, "--drop-bad-rows", "--validation", "1"]) == 0
    train, validation = (pq.read_table(tmp_path / f"sft/{split}.parquet") for split in ("train", "validation"))
    assert (len(train), len(validation)) == (3, 1)
    assert [chat[-1]["role"] for chat in train["messages"].to_pylist()] == ["assistant"] * 3


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert main("", ["--local_dir", str(tmp_path), "--rows", str(tmp_path / "no.parquet")]) == 1
    assert "no.parquet is not there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folder", "source", "question", "solution", "parse"),
    [
        ("gsm8k", "openai/gsm8k", "question", "answer", gsm8k.parse_gold),
        ("math", MATH, "problem", "solution", math.last_boxed),
    ],
)
def test_published_solutions(shared_data, folder, source, question, solution, parse):
    """The first 300 of each data set."""
    with gzip.open(shared_data / folder / "train.jsonl.gz", "rt") as lines:
        raw = [json.loads(line) for line, _ in zip(lines, range(300), strict=False)]
    for row in raw:
        made = demonstrate(prepared(source, row[solution], parse(row[solution]), row[question]))
        text = made["messages"][-1]["content"]
        assert "<<" not in text or source == MATH
        assert text.startswith("<think>") and "####" not in text


def test_parts():
    assert without_calculator("2*3=<<2*3=6>>6\n#### 6") == "2*3=6"
    assert boxed_sentence("x^2") == r"Therefore, the final answer is: $\boxed{x^2}$. I hope it is correct"

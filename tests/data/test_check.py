"""Faults in the rows of a run are reported before it starts, with the file and the first bad row."""

from __future__ import annotations

import pytest
from verl_rows import write_rows

from cppo_verl.data.check import RowsError, overlong, read_rows, remarks

ASKED = ("What is 2 + 2?", "What is 3 + 1?", "What is 1 + 3?")


def test_rows_as_the_scripts_write_them(tmp_path):
    rows = read_rows(write_rows(tmp_path / "rows.parquet", ASKED))
    assert tuple(rows.questions) == ASKED
    assert not list(remarks([rows], []))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"prompt": None}, "has no column prompt; it has data_source, reward_model, extra_info"),
        ({"reward_model": None, "data_source": None}, "has no column data_source, reward_model"),
        ({"prompt": ASKED}, r"no chat messages \(a list of role and content\) in row 1 and 2 more"),
        ({"prompt": [[], [], []]}, "no chat messages .* in row 1"),
        ({"prompt": [[{"role": "user", "content": q}] for q in ("a", " \n", "b")]}, "an empty question in row 2$"),
        ({"prompt": [[{"role": "user", "content": None}]] * 3}, "no chat messages"),
        ({"prompt": [[{"text": "a"}]] * 3}, "no chat messages"),
        (
            {"prompt": [[{"role": "human", "content": q}] for q in "abc"]},
            r"prompt holds a message of the role 'human', none of system, .*tool \(write user\) in row 1 and 2 more$",
        ),
        (
            {"prompt": [[{"role": "user", "content": q}, {"role": "gpt", "content": "4"}] for q in "abc"]},
            r"prompt holds a message of the role 'gpt', .*\(write assistant\) in row 1",
        ),
        (
            {"prompt": [[{"role": "user", "content": q}, {"role": "assistant", "content": "4"}] for q in "abc"]},
            r"prompt ends with a message of the assistant, not with the user's question \(an answer there .* in row 1",
        ),
        (
            {"prompt": [[{"role": "user", "content": q}, {"role": "system", "content": "Think."}] for q in "abc"]},
            "prompt ends with a message of the system, not with the user's question in row 1",
        ),
        ({"data_source": ["a", None, ""]}, "no data_source in row 2 and 1 more"),
        ({"reward_model": [{"ground_truth": g} for g in ("4", "", None)]}, "no reward_model.ground_truth in row 2 and"),
        ({"reward_model": [{"ground_truth": g} for g in (4, 5, 6)]}, r"is no text but 4 \(int\) in row 1 and 2 more$"),
        ({"reward_model": [{"ground_truth": g} for g in (4.5, None, 6)]}, r"is no text but 4.5 \(float\) in row 1"),
        ({"reward_model": [{"ground_truth": g} for g in (["4"], [], [])]}, r"is no text but \['4'\] \(list\) in row 1"),
        ({"reward_model": [{"style": "rule"}] * 3}, "no reward_model.ground_truth in row 1"),
        ({"reward_model": ["4"] * 3}, "no reward_model.ground_truth in row 1"),
    ],
)
def test_bad_rows(tmp_path, changed, says):
    path = write_rows(tmp_path / "rows.parquet", ASKED, **changed)
    with pytest.raises(RowsError, match=says):
        read_rows(path)


def test_questions_are_what_the_user_says_last(tmp_path):
    """A tool's answer is the same for many questions."""
    prompts = [[{"role": "user", "content": q}, {"role": "tool", "content": "ok"}] for q in ASKED]
    rows = read_rows(write_rows(tmp_path / "rows.parquet", ASKED, prompt=prompts))
    assert tuple(rows.questions) == ASKED
    assert not list(remarks([rows], []))


def test_what_is_no_parquet_file(tmp_path):
    whole = write_rows(tmp_path / "rows.parquet", ASKED)
    with pytest.raises(RowsError, match=r"is a folder \(rows\.parquet\); give a file"):
        read_rows(tmp_path)
    with pytest.raises(RowsError, match="is not there"):
        read_rows(tmp_path / "nowhere.parquet")
    with pytest.raises(RowsError, match="has no rows"):
        read_rows(
            write_rows(tmp_path / "none.parquet", ASKED, prompt=[], data_source=[], reward_model=[], extra_info=[])
        )
    for name, content in {"empty": b"", "truncated": whole.read_bytes()[:-200], "text": b"question,answer\n"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RowsError, match=f"{name} is not a readable parquet file"):
            read_rows(tmp_path / name)


def test_prompts_longer_than_the_limit(tmp_path):
    rows = read_rows(write_rows(tmp_path / "rows.parquet", ["short", "x" * 3000, "y" * 2000]))
    tokenized = []

    def tokenize(messages):
        tokenized.append(messages[-1]["content"])
        return list(messages[-1]["content"])

    assert overlong(rows, 3000, tokenize) is None
    found = overlong(rows, 1000, tokenize)
    assert "2 prompt(s) of more than data.max_prompt_length=1000 tokens, first in row 2" in found
    assert "set data.max_prompt_length=3000" in found
    assert "short" not in tokenized, "it cannot be longer"


def test_repeated_and_shared_questions_are_said(tmp_path):
    train = read_rows(write_rows(tmp_path / "train.parquet", [*ASKED, "What is  2 + 2?"]))
    val = read_rows(write_rows(tmp_path / "val.parquet", ["What is 5?", ASKED[1]], split="test"))
    repeated, shared = remarks([train], [val])
    assert repeated == "1 question(s) occur more than once in the training data"
    assert "1 of the 2 questions of" in shared and "(row 2 is" in shared and "train.parquet row 2)" in shared

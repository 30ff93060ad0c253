import json
import random
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cppo_verl.data import prepare
from cppo_verl.data.rows import Recipe, collapse
from cppo_verl.data.validation import hold_out
from cppo_verl.rewards.gsm8k import parse_gold

RECIPE = Recipe(dict.fromkeys(("train", "test"), "x/y"), "question", "answer", parse_gold, "")


def built(questions: list[str]) -> list[dict]:
    return [{"extra_info": {"split": "train", "index": i, "question": text}} for i, text in enumerate(questions)]


def indices(rows: list[dict]) -> list[int]:
    return [row["extra_info"]["index"] for row in rows]


questions = st.lists(st.text(alphabet="abc ", min_size=1, max_size=4), min_size=1, max_size=30)


@given(questions=questions, data=st.data())
def test_validation_is_a_stable_part_of_train(questions: list[str], data: st.DataObject) -> None:
    rows = built(questions)
    different = len(set(map(collapse, questions)))
    count = data.draw(st.integers(0, different - 1))
    train, validation = hold_out(rows, count)

    assert sorted(indices(train) + indices(validation)) == indices(rows)
    assert indices(train) == sorted(indices(train))
    held = {collapse(row["extra_info"]["question"]) for row in validation}
    assert len(held) == count
    assert held.isdisjoint(collapse(row["extra_info"]["question"]) for row in train)
    assert {row["extra_info"]["split"] for row in validation} <= {"validation"}
    assert {row["extra_info"]["split"] for row in train} == {"train"}

    shuffled = data.draw(st.permutations(rows))
    assert sorted(indices(hold_out(shuffled, count)[1])) == indices(validation)


def test_the_seed_chooses_and_a_larger_part_holds_the_smaller() -> None:
    rows = built([f"question {n}" for n in range(100)])
    ten, twenty = (set(indices(hold_out(rows, count)[1])) for count in (10, 20))
    assert ten < twenty
    assert ten != set(indices(hold_out(rows, 10, seed=1)[1]))


def write_source(folder: Path, numbers: list[int]) -> Path:
    folder.mkdir(exist_ok=True)
    for split, texts in (("train", [f"train {n}?" for n in numbers]), ("test", ["test?"])):
        lines = (json.dumps({"question": text, "answer": "#### 1"}) + "\n" for text in texts)
        (folder / f"{split}.jsonl").write_text("".join(lines))
    return folder


def run(source: Path, out: Path, *options: str) -> int:
    return prepare.main(RECIPE, "", ["--source", str(source), "--local_dir", str(out), *options])


def asked(path: Path) -> set[str]:
    return {row["extra_info"]["question"] for row in pyarrow.parquet.read_table(path).to_pylist()}


def test_the_same_questions_are_held_out_of_reordered_files(tmp_path: Path) -> None:
    numbers = list(range(30))
    assert run(write_source(tmp_path / "a", numbers), tmp_path / "out_a", "--validation", "7") == 0
    random.Random(0).shuffle(numbers)
    assert run(write_source(tmp_path / "b", numbers), tmp_path / "out_b", "--validation", "7") == 0
    held = asked(tmp_path / "out_a" / "validation.parquet")
    assert len(held) == 7
    assert held == asked(tmp_path / "out_b" / "validation.parquet")
    assert asked(tmp_path / "out_a" / "train.parquet") == {f"train {n}?" for n in numbers} - held


def test_off_by_default(tmp_path: Path) -> None:
    assert run(write_source(tmp_path / "in", [1, 2]), tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["test.parquet", "train.parquet"]


@pytest.mark.parametrize("count", ["-1", "3", "4"])
def test_a_part_that_does_not_fit_is_refused(tmp_path: Path, capsys, count: str) -> None:
    source = write_source(tmp_path / "in", [1, 2, 3, 3])
    assert run(source, tmp_path / "out", "--validation", count) == 1
    told = capsys.readouterr().err
    assert f"{count} validation questions do not fit 3 train questions; the largest number that works is 2" in told
    assert not (tmp_path / "out").exists()
    assert run(source, tmp_path / "out", "--validation", "2") == 0


def test_an_older_validation_file_would_leak_into_train(tmp_path: Path, capsys) -> None:
    source = write_source(tmp_path / "in", [1, 2, 3])
    assert run(source, tmp_path / "out", "--validation", "1") == 0
    before = asked(tmp_path / "out" / "train.parquet")
    assert run(source, tmp_path / "out") == 1
    assert "validation.parquet: the train file would hold these questions too" in capsys.readouterr().err
    assert asked(tmp_path / "out" / "train.parquet") == before

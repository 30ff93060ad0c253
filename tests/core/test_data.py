import gzip
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pyarrow.parquet
import pytest

from cppo_verl.data import prepare, rows
from cppo_verl.data.prompts import GSM8K_SYSTEM, MATH_SYSTEM, chat
from cppo_verl.data.sources import SourceError, load_split

REPO = Path(__file__).resolve().parents[2]


def script(name: str) -> ModuleType:
    path = REPO / "examples" / "data_preprocess" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"data_preprocess_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GSM8K, MATH = script("gsm8k").GSM8K, script("math_dataset").MATH


def question(text: str, gold: str = "5") -> dict[str, str]:
    return {"question": text, "answer": f"It is {gold}.\n#### {gold}"}


def write_source(folder: Path, train: list[dict], test: list[dict]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in (("train", train), ("test", test)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    return folder


def run(recipe: rows.Recipe, source: Path, out: Path, *options: str) -> int:
    return prepare.main(recipe, "test", ["--source", str(source), "--local_dir", str(out), *options])


def read(path: Path) -> list[dict]:
    return pyarrow.parquet.read_table(path).to_pylist()


SYSTEM = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The "
    "assistant first thinks about the reasoning process in the mind and then provides the user with the "
    "answer. {}The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> "
    "tags, respectively, i.e., <think> reasoning process here </think>\n<answer> answer here </answer>."
)
BOXED = (
    "And the answer should be of the following format: 'Therefore, the final answer is: $\\boxed{ANSWER}$. I "
    "hope it is correct' (without quotes) where ANSWER is just the final number or expression that solves the "
    "problem. "
)


@pytest.mark.parametrize(("message", "extra"), [(GSM8K_SYSTEM, ""), (MATH_SYSTEM, BOXED)])
def test_system_messages_are_those_of_the_specification(message: str, extra: str) -> None:
    assert message == SYSTEM.format(extra)


def test_no_system_message_opens_with_the_question() -> None:
    assert chat("q", None) == [{"role": "user", "content": "q"}]


def test_rows_have_verls_schema(tmp_path: Path) -> None:
    source = write_source(tmp_path / "in", [question("a?"), question("b?", "1,080")], [question("c?")])
    assert run(GSM8K, source, tmp_path / "out") == 0
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["test.parquet", "train.parquet"]
    assert read(tmp_path / "out" / "train.parquet")[1] == {
        "data_source": "openai/gsm8k",
        "prompt": [{"role": "system", "content": GSM8K_SYSTEM}, {"role": "user", "content": "b?"}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "1080"},
        "extra_info": {
            "split": "train",
            "index": 1,
            "question": "b?",
            "answer": "It is 1,080.\n#### 1,080",
        },
    }


def test_no_system_prompt(tmp_path: Path) -> None:
    source = write_source(tmp_path / "in", [question("a?")], [question("c?")])
    assert run(GSM8K, source, tmp_path / "out", "--no-system-prompt") == 0
    assert read(tmp_path / "out" / "test.parquet")[0]["prompt"] == [{"role": "user", "content": "c?"}]


BAD_TRAIN = [
    question("good?"),
    question("  "),
    question("no gold?", "many"),
    {"question": "no answer field?"},
    question("asked\n  in the test too?"),
    question("good?"),
]


def test_bad_rows_stop_the_run_and_nothing_is_written(tmp_path: Path, capsys) -> None:
    source = write_source(tmp_path / "in", BAD_TRAIN, [question("x?"), question("asked in the test too?")])
    assert run(GSM8K, source, tmp_path / "out") == 1
    assert not (tmp_path / "out").exists()
    told = capsys.readouterr().err
    assert "note: train row 6: the same question as row 1" in told
    assert "bad row: train row 2: field 'question' is empty or missing" in told
    assert "bad row: train row 3: the gold after '####' is not one number: 'many'" in told
    assert "bad row: train row 4: field 'answer' is empty or missing" in told
    assert "bad row: train row 5: the question is also test row 2" in told
    assert "--drop-bad-rows" in told


def test_bad_rows_are_left_out_on_request(tmp_path: Path) -> None:
    source = write_source(tmp_path / "in", BAD_TRAIN, [question("x?"), question("asked in the test too?")])
    assert run(GSM8K, source, tmp_path / "out", "--drop-bad-rows") == 0
    kept = [row["extra_info"]["index"] for row in read(tmp_path / "out" / "train.parquet")]
    assert kept == [0, 5]  # a repeated question is only reported
    assert len(read(tmp_path / "out" / "test.parquet")) == 2


def test_a_split_without_a_good_row_is_refused(tmp_path: Path, capsys) -> None:
    source = write_source(tmp_path / "in", [question("")], [question("x?")])
    assert run(GSM8K, source, tmp_path / "out", "--drop-bad-rows") == 1
    assert "no good row is left" in capsys.readouterr().err


def test_a_failed_write_leaves_the_old_files(tmp_path: Path, monkeypatch) -> None:
    old = tmp_path / "train.parquet"
    old.write_text("old")
    good, bad = [{"a": 1}], [{"a": object()}]
    with pytest.raises(ValueError, match="object"):
        rows.write_parquet({old: good, tmp_path / "test.parquet": bad})
    assert [path.name for path in tmp_path.iterdir()] == ["train.parquet"]
    assert old.read_text() == "old"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b'{"a": 1}\nnot json\n', "line 2: not JSON"),
        (b'{"a": 1}\n\n{"a": 1}\n', "line 2: not JSON"),
        (b'{"a": 1}\n[1]\n', "line 2: a JSON object is needed, not list"),
        (b'{"a": "\xff"}\n', "line 1: not JSON"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_unreadable_files_are_named(tmp_path: Path, content: bytes, message: str, packed: bool) -> None:
    name = "train.jsonl.gz" if packed else "train.jsonl"
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(SourceError, match=message) as error:
        load_split(str(tmp_path), "train")
    assert str(tmp_path / name) in str(error.value)


def test_a_broken_gzip_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(b'{"a": 1}\n' * 100)
    for content in (b"plain", whole[:20]):
        (tmp_path / "train.jsonl.gz").write_bytes(content)
        with pytest.raises(SourceError, match=r"train\.jsonl\.gz: cannot be read"):
            load_split(str(tmp_path), "train")


def test_a_missing_or_doubled_file_is_refused(tmp_path: Path, capsys) -> None:
    assert run(GSM8K, tmp_path, tmp_path / "out") == 1
    assert "has neither train.jsonl nor train.jsonl.gz" in capsys.readouterr().err
    for name in ("train.jsonl", "train.jsonl.gz"):
        (tmp_path / name).touch()
    with pytest.raises(SourceError, match=r"both.* train\.jsonl and train\.jsonl\.gz"):
        load_split(str(tmp_path), "train")


def test_an_unreachable_hub_says_what_to_do(monkeypatch) -> None:
    import datasets

    def refuse(*args: object, **options: object) -> None:
        assert (args, options) == (("openai/gsm8k", "main"), {"split": "test"})
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(SourceError, match=r"\(no route\).*--source with a folder") as error:
        load_split("openai/gsm8k", "test")
    assert "\n" not in str(error.value)


def test_published_gsm8k(tmp_path: Path, shared_data: Path) -> None:
    command = [sys.executable, REPO / "examples" / "data_preprocess" / "gsm8k.py", "--local_dir", tmp_path]
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    subprocess.run([*command, "--source", shared_data / "gsm8k"], check=True, cwd=REPO, env=environment)
    assert [len(read(tmp_path / f"{split}.parquet")) for split in ("train", "test")] == [7473, 1319]


def test_published_math(tmp_path: Path, shared_data: Path, monkeypatch, capsys) -> None:
    """Every row; that each gold can be compared takes half a minute and is checked for a part of them."""
    source = tmp_path / "in"
    source.mkdir()
    (source / "train.jsonl.gz").symlink_to(shared_data / "math" / "train.jsonl.gz")
    (source / "test.jsonl").symlink_to(shared_data / "math500" / "test.jsonl")
    monkeypatch.setattr("cppo_verl.rewards.math.check_gold", some_golds())
    assert run(MATH, source, tmp_path / "out") == 0
    train, test = (read(tmp_path / "out" / f"{split}.parquet") for split in ("train", "test"))
    assert (len(train), len(test)) == (7500, 500)
    assert train[0]["data_source"] == "DigitalLearningGmbH/MATH-lighteval"
    assert test[0]["data_source"] == "HuggingFaceH4/MATH-500"
    assert test[0]["prompt"][0]["content"] == MATH_SYSTEM
    assert all(row["reward_model"]["ground_truth"] for row in train + test)
    told = capsys.readouterr().err
    assert "note: train row 1667: the same question as row 1435" in told
    assert "train row 5530: the \\boxed is empty; a known erratum, gold set to '0'" in told
    assert "train row 5532: the \\boxed is empty; a known erratum, gold set to '0'" in told


def some_golds():
    from cppo_verl.rewards.symbolic import check_gold

    def check(gold: str) -> str:
        return check_gold(gold) if "\\frac\\pi" in gold or "%" in gold or ":" in gold else "equal"

    return check


def test_math_golds_come_from_the_last_box(tmp_path: Path, capsys) -> None:
    train = [
        {"problem": "a?", "solution": r"$\boxed{1}$, no, $\boxed{\frac{1}{\sqrt{2}}}$."},
        {"problem": "b?", "solution": "no box"},
        {"problem": "c?", "solution": r"\boxed{((((}"},
    ]
    test = [{"problem": "d?", "solution": r"\boxed 2$.", "answer": "2"}]
    source = write_source(tmp_path / "in", train, test)
    assert run(MATH, source, tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert "bad row: train row 2: the solution has no closed \\boxed" in told
    assert "bad row: train row 3: the boxed gold cannot be read (bad_gold): '(((('" in told
    assert run(MATH, source, tmp_path / "out", "--drop-bad-rows") == 0
    golds = [
        read(tmp_path / "out" / f"{split}.parquet")[0]["reward_model"]["ground_truth"] for split in ("train", "test")
    ]
    assert golds == [r"\frac{1}{\sqrt{2}}", "2"]

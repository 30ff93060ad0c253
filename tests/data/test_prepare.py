import gzip
import importlib.util
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pyarrow.parquet
import pytest

from cppo_verl.data import prepare, rows
from cppo_verl.data.prompts import GSM8K_SYSTEM, MATH_SYSTEM, chat
from cppo_verl.data.sources import SourceError, load_split
from cppo_verl.rewards.math import compute_score as math_reward
from cppo_verl.rewards.olympiad import compute_score as olympiad_reward

REPO = Path(__file__).resolve().parents[2]


def script(name: str) -> ModuleType:
    path = REPO / "examples" / "data_preprocess" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"data_preprocess_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GSM8K, MATH, LIMR = script("gsm8k").GSM8K, script("math_dataset").MATH, script("limr").LIMR
AMC23, AIME24 = script("amc23").AMC23, script("aime24").AIME24
OLYMPIADBENCH = script("olympiadbench").OLYMPIADBENCH


def question(text: str, gold: str = "5") -> dict[str, str]:
    return {"question": text, "answer": f"It is {gold}.\n#### {gold}"}


def write_source(folder: Path, train: list[dict], test: list[dict]) -> Path:
    return write_split(write_split(folder, "train", train), "test", test)


def write_split(folder: Path, split: str, content: list[dict]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
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


def test_published_math(tmp_path: Path, shared_data: Path, capsys) -> None:
    """Every row, and every gold can be compared."""
    source = tmp_path / "in"
    source.mkdir()
    (source / "train.jsonl.gz").symlink_to(shared_data / "math" / "train.jsonl.gz")
    (source / "test.jsonl").symlink_to(shared_data / "math500" / "test.jsonl")
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


def test_a_recipe_has_only_its_own_splits(tmp_path: Path, capsys) -> None:
    source = write_split(tmp_path / "in", "test", [{"question": "a?", "answer": 27.0}])
    assert run(AMC23, source, tmp_path / "out") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["test.parquet"]
    with pytest.raises(SystemExit):
        run(AMC23, source, tmp_path / "out", "--validation", "1")
    assert "unrecognized arguments: --validation" in capsys.readouterr().err
    assert run(LIMR, source, tmp_path / "out") == 1
    assert "has neither train.jsonl nor train.jsonl.gz" in capsys.readouterr().err


def test_numbers_become_plain_golds(tmp_path: Path, capsys) -> None:
    amc = [{"question": f"{answer}?", "answer": answer} for answer in (27.0, -1.0, 0.5, 3159.0)]
    aime = [{"problem": f"{answer}?", "answer": answer} for answer in ("025", "000", "204")]
    assert run(AMC23, write_split(tmp_path / "amc", "test", amc), tmp_path / "amc_out") == 0
    assert run(AIME24, write_split(tmp_path / "aime", "test", aime), tmp_path / "aime_out") == 0
    assert golds(tmp_path / "amc_out" / "test.parquet") == ["27", "-1", "0.5", "3159"]
    assert golds(tmp_path / "aime_out" / "test.parquet") == ["25", "0", "204"]
    assert read(tmp_path / "amc_out" / "test.parquet")[0]["extra_info"]["answer"] == "27.0"
    bad = [{"question": "a?", "answer": "1 or 2"}, {"question": "b?", "answer": None}]
    assert run(AMC23, write_split(tmp_path / "bad", "test", bad), tmp_path / "bad_out") == 1
    told = capsys.readouterr().err
    assert "bad row: test row 1: the gold is not one number: '1 or 2'" in told
    assert "bad row: test row 2: field 'answer' is empty or missing" in told


def olympiad(text: str, answer: str, **fields: object) -> dict:
    return {"question": text, "final_answer": [answer], "context": None, "unit": None, "error": None} | fields


def test_olympiadbench_rows_hold_context_unit_and_tolerance(tmp_path: Path) -> None:
    raw = [
        olympiad("a?", "$221,$8$"),
        olympiad("b?", "4.2", context="Let $n=3$.", unit="%", error="1e-1"),
        olympiad("If $\\log _{2} x-2 \\log _{2} y=2$, determine $y$, as", "$\\frac{1}{2},\\sqrt{x}$"),
    ]
    assert run(OLYMPIADBENCH, write_split(tmp_path / "in", "test", raw), tmp_path / "out") == 0
    assert golds(tmp_path / "out" / "test.parquet") == ["221,8", "4.2", r"\frac{1}{2}\sqrt{x}"]
    plain, with_all, _ = read(tmp_path / "out" / "test.parquet")
    assert plain["extra_info"] == {
        "split": "test",
        "index": 0,
        "question": "a?",
        "answer": "$221,$8$",
        "unit": None,
        "error": None,
    }
    assert (with_all["extra_info"]["unit"], with_all["extra_info"]["error"]) == ("%", 0.1)
    assert with_all["prompt"][-1]["content"] == with_all["extra_info"]["question"] == "Let $n=3$.\n\nb?"


def test_an_unreadable_tolerance_or_gold_is_a_bad_row(tmp_path: Path, capsys) -> None:
    raw = [olympiad("a?", "1", error="small"), olympiad("b?", "$1, ((($"), olympiad("c?", "$$")]
    assert run(OLYMPIADBENCH, write_split(tmp_path / "in", "test", raw), tmp_path / "out") == 1
    told = capsys.readouterr().err
    for row, message in enumerate(
        ("could not convert", "the gold cannot be read: '(((", "the gold cannot be"), start=1
    ):
        assert f"bad row: test row {row}: {message}" in told


def test_an_erratum_replaces_a_wrong_gold_and_says_so(tmp_path: Path, capsys) -> None:
    recipe = rows.Recipe({"test": "x"}, "question", "answer", str, "", errata={"What is 1+1": "2"})
    raw = [{"question": "What is 1+1?", "answer": answer} for answer in ("3", "2")]
    assert run(recipe, write_split(tmp_path / "in", "test", raw), tmp_path / "out") == 0
    assert golds(tmp_path / "out" / "test.parquet") == ["2", "2"]
    told = capsys.readouterr().err
    assert "note: test row 1: published gold '3'; a known erratum, gold set to '2'" in told
    assert told.count("erratum") == 1


@pytest.mark.parametrize(
    ("recipe", "folder", "split", "count"),
    [
        (AMC23, "amc23", "test", 40),
        (AIME24, "aime24", "test", 30),
        (OLYMPIADBENCH, "olympiadbench", "test", 674),
        (LIMR, "limr", "train", 1389),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_published_gold_is_right_when_answered(
    tmp_path: Path, shared_data: Path, capsys, recipe: rows.Recipe, folder: str, split: str, count: int
) -> None:
    """All rows come through, and a completion that boxes the published gold scores."""
    assert run(recipe, shared_data / folder, tmp_path) == 0
    prepared = read(tmp_path / f"{split}.parquet")
    assert len(prepared) == count
    assert capsys.readouterr().err.count("known erratum") == (2 if folder == "olympiadbench" else 0)
    reward = olympiad_reward if folder == "olympiadbench" else math_reward

    def accuracy(row: dict) -> float:
        opening = row["extra_info"]["question"]
        published = row["extra_info"]["answer"]
        if any(opening.startswith(known) for known in recipe.errata):
            published = row["reward_model"]["ground_truth"]
        completion = rf"\boxed{{{published}}}"
        return reward(row["data_source"], completion, row["reward_model"]["ground_truth"], row["extra_info"])["acc"]

    with ThreadPoolExecutor(2) as threads:
        accuracies = list(threads.map(accuracy, prepared))
    assert [row["extra_info"]["answer"] for row, acc in zip(prepared, accuracies, strict=True) if not acc] == []


def golds(path: Path) -> list[str]:
    return [row["reward_model"]["ground_truth"] for row in read(path)]


STEP_BY_STEP = "Let's think step by step and output the final answer "


@pytest.mark.parametrize(("style", "asked"), [("hash", 'after "####".'), ("boxed", "within \\boxed{}.")])
def test_other_styles_ask_after_the_question(tmp_path: Path, style: str, asked: str) -> None:
    """The same rows but for the prompt, which is verl's own."""
    source = write_source(tmp_path / "in", [question("a?"), question("b?")], [question("c?")])
    for out, options in {"tags": (), style: ("--style", style)}.items():
        assert run(GSM8K, source, tmp_path / out, *options, "--validation", "1") == 0
    for split in ("train", "validation", "test"):
        (row,), (tags,) = (read(tmp_path / out / f"{split}.parquet") for out in (style, "tags"))
        content = f"{row['extra_info']['question']} {STEP_BY_STEP}{asked}"
        assert row == tags | {"prompt": [{"role": "user", "content": content}]}


def test_a_style_without_a_reward_is_refused(tmp_path: Path, capsys) -> None:
    source = write_source(tmp_path / "in", [question("a?")], [question("c?")])
    for recipe, style, choices in ((MATH, "hash", "'tags', 'boxed'"), (OLYMPIADBENCH, "boxed", "'tags'")):
        with pytest.raises(SystemExit):
            run(recipe, source, tmp_path / "out", "--style", style)
        assert f"invalid choice: '{style}' (choose from {choices})" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(GSM8K, source, tmp_path / "out", "--style", "hash", "--no-system-prompt")
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("policy", "kept", "told"),
    [
        ((), ["2280", "18", "5"], "kept; 2180 is right"),
        (("--known-errors", "drop"), ["5"], "row left out"),
        (("--known-errors", "mend"), ["2180", "18", "5"], "gold set to '2180'"),
    ],
)
def test_golds_known_to_be_wrong_are_named_and_kept_dropped_or_mended(tmp_path, capsys, policy, kept, told) -> None:
    test = [question(f"{e.opening}?", e.published) for e in GSM8K.known_errors] + [question("c?")]
    source = write_source(tmp_path / "in", [question("a?")], test)
    assert run(GSM8K, source, tmp_path / "out", *policy) == 0
    assert golds(tmp_path / "out/test.parquet") == kept
    said = capsys.readouterr().err
    assert told in said and "three times more" in said
    *known, plain = [row["extra_info"] for row in read(tmp_path / "out/test.parquet")]
    assert [bool(row["known_error"]) for row in known] == [True] * len(known)
    assert plain.get("known_error") is None


def test_the_known_errors_of_gsm8k_are_where_they_are_said_to_be(shared_data: Path) -> None:
    published = load_split(str(shared_data / "gsm8k"), "test")
    for error, index in zip(GSM8K.known_errors, (1309, 368), strict=True):
        assert f"row {index} from 0" in error.why
        assert published[index]["question"].startswith(error.opening)
        assert published[index]["answer"].endswith(f"#### {error.published}")
        assert sum(row["question"].startswith(error.opening) for row in published) == 1

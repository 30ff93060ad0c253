"""The toy problems, tokenizer and model."""

import io
import itertools
import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from cppo_verl.toy.build import STAMP, ToySettings, build
from cppo_verl.toy.problems import PHRASES, RESULTS, THINGS, distinct_problems, number_triples, write_raw
from cppo_verl.toy.tokenizer import prompt_ids, save_tokenizer, train_tokenizer
from cppo_verl.toy.warmstart import WarmStart, batches, completion, demonstrate, patience

TINY = ToySettings(train=40, test=8, vocab=300, hidden=64, layers=1, warm_start=WarmStart(steps=2, batch_size=4))


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("toy")
    build(out, TINY, Console(file=io.StringIO()))
    return out


def test_problems_follow_the_seed():
    assert distinct_problems("train", 50, 3) == distinct_problems("train", 50, 3)
    assert distinct_problems("train", 50, 3) != distinct_problems("train", 50, 4)


def test_splits_share_no_numbers_and_no_question(tmp_path):
    triples = number_triples(0)
    for one, other in itertools.combinations(triples.values(), 2):
        assert not set(one) & set(other)
    write_raw(tmp_path, train=2000, test=256, seed=0)
    train, test = read(tmp_path / "train.jsonl"), read(tmp_path / "test.jsonl")
    questions = [row["question"] for row in train + test]
    assert (len(train), len(test), len(set(questions))) == (2000, 256, 2256)


def test_gold_follows_from_the_text():
    for problem in distinct_problems("train", 500, 1):
        row = problem.row()
        reasoning, gold = row["answer"].split("\n#### ")
        sums = re.findall(r"(\d+)([+-])(\d+)=(\d+)", reasoning)
        assert len(sums) == 2
        for left, op, right, result in sums:
            assert int(left) + (1 if op == "+" else -1) * int(right) == int(result)
        phrases = sorted(PHRASES, key=lambda phrase: -len(phrase))
        start, *changes = re.findall(rf"({'|'.join(phrases)})? ?\b(\d+)", row["question"])
        told = int(start[1]) + sum(PHRASES[phrase] * int(size) for phrase, size in changes)
        assert told == int(gold) == int(sums[1][3])
        assert 0 <= told < RESULTS


def test_every_number_is_a_digit_and_stopping_early_is_wrong():
    for problem in distinct_problems("train", 2000, 0):
        middle, end = (problem.reasoning(changes)[1] for changes in (1, 2))
        assert 0 <= middle < RESULTS and 0 <= end < RESULTS and middle != end
        assert problem.reasoning()[0].startswith(problem.reasoning(1)[0])


def test_tokenizer_survives_its_reload(tmp_path):
    shown = distinct_problems("demo", 300, 0)
    texts = [text for p in shown for text in (p.question, completion(*p.reasoning()))]
    tokenizer = train_tokenizer(texts, 640)
    unseen = [text for p in distinct_problems("test", 256, 0) for text in p.row().values()]
    reloaded = save_tokenizer(tokenizer, tmp_path, texts + unseen)
    ids = reloaded("12+30=42")["input_ids"]
    assert [reloaded.decode([i]) for i in ids] == list("12+30=42")
    assert reloaded.decode(prompt_ids(reloaded, "How many?")) == (
        "<|im_start|>user\nHow many?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert reloaded.decode([reloaded.eos_token_id, reloaded.pad_token_id]) == "<|im_end|><|endoftext|>"


def test_a_reload_that_changes_the_ids_is_refused(tmp_path):
    tokenizer = train_tokenizer(["23 pens"] * 9, 300)
    tokenizer.backend_tokenizer.pre_tokenizer = None
    with pytest.raises(ValueError, match="changed when it was reloaded"):
        save_tokenizer(tokenizer, tmp_path, ["two pens and 23 pens"])


def test_demonstrators_finish_as_often_as_their_patience_says():
    settings, rng = WarmStart(format_slip=0.0), random.Random(0)
    rates = [patience(thing, settings) for thing in THINGS]
    assert rates == sorted(rates) and (rates[0], rates[-1]) == (settings.least, settings.most)
    assert sum(rate > 0.5 for rate in rates) / len(rates) < 0.45, "what a greedy reader of the demonstrations finishes"
    shown = [(problem, demonstrate(problem, settings, rng)) for problem in distinct_problems("demo", 4000, 0)]
    for problem, text in shown:
        assert text in {completion(*problem.reasoning(changes)) for changes in (1, 2)}
    finished = [text == completion(*problem.reasoning()) for problem, text in shown]
    assert sum(finished) / len(finished) == pytest.approx(sum(rates) / len(rates), abs=0.03)


def test_only_completions_are_learned(built):
    tokenizer = AutoTokenizer.from_pretrained(built / "model")
    for batch in batches(tokenizer, WarmStart(steps=2, batch_size=4, format_slip=0.0), seed=0):
        for row, labels in zip(batch["input_ids"], batch["labels"], strict=True):
            text = tokenizer.decode(row[labels != -100])
            assert re.fullmatch(r"<think>.*</think>\n<answer>-?\d+</answer><\|im_end\|>", text, re.DOTALL)


def test_build_loads_and_is_not_repeated(built):
    model = AutoModelForCausalLM.from_pretrained(built / "model")
    tokenizer = AutoTokenizer.from_pretrained(built / "model")
    assert str(model.dtype) == "torch.float32"
    assert model.config.vocab_size == len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert len(read(built / "raw" / "train.jsonl")) == 40
    weights = built / "model" / "model.safetensors"
    before, said = weights.stat().st_mtime_ns, io.StringIO()
    result = build(built, TINY, Console(file=said))
    assert weights.stat().st_mtime_ns == before
    assert "nothing to do" in said.getvalue()
    assert result == json.loads((built / STAMP).read_text())["result"]


def test_other_settings_build_again(built, tmp_path):
    quiet = Console(file=io.StringIO())
    build(tmp_path, TINY, quiet)
    build(tmp_path, replace(TINY, train=20), quiet)
    assert len(read(tmp_path / "raw" / "train.jsonl")) == 20

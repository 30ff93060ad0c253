"""The evaluation around the engine: what is asked, what is refused, what is written and read again."""

import json
from pathlib import Path

import pandas as pd
import pytest
from command import cppo_verl

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.config.compose import compose
from cppo_verl.evaluation.benchmarks import BENCHMARKS, find, known_errors
from cppo_verl.evaluation.command import CONFIG, evaluate, plan_requests, protocol_of, settings
from cppo_verl.evaluation.comparison import compare_folders
from cppo_verl.evaluation.generate import Completion
from cppo_verl.evaluation.models import Model
from cppo_verl.evaluation.results import GenerationsLog, record, summarize

GOLDS = ["4", "5", "6"]


@pytest.fixture
def file(tmp_path):
    """Three questions in verl's row schema."""
    rows = [
        {
            "data_source": "openai/gsm8k",
            "prompt": [{"role": "user", "content": f"question {gold}"}],
            "reward_model": {"style": "rule", "ground_truth": gold},
            "extra_info": {"split": "test"},
        }
        for gold in GOLDS
    ]
    path = tmp_path / "test.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.fixture
def config(file, tmp_path):
    """`config("key=value", ...)`: as `cppo-verl evaluate` would compose it."""

    def composed(*overrides: str):
        own = ["device=cpu", f"+files.gsm8k={file}", f"model={tmp_path}/nowhere", f"out={tmp_path}/out"]
        return compose([*own, *overrides], CONFIG, "evaluate")

    return composed


def answers(config, texts: list[str], **kwargs) -> list[dict]:
    """Records of a completion for each request."""
    requests = plan_requests(find("gsm8k"), config)
    return [record(Completion(r, text, 7, truncated=False)) for r, text in zip(requests, texts, strict=True)]


def completion(answer: str) -> str:
    return f"<think>so</think>\n<answer>{answer}</answer>"


def test_published_protocols():
    greedy = {name for name, benchmark in BENCHMARKS.items() if benchmark.protocol.temperature == 0}
    assert greedy == {"gsm8k", "gsm8k_hash", "math500", "math500_boxed", "olympiadbench", "toy"}
    for name in ("amc23", "aime24"):
        protocol = BENCHMARKS[name].protocol
        assert (protocol.samples, protocol.temperature, protocol.top_p) == (4, 0.6, 0.95)


def test_every_sample_is_a_request_with_a_seed_of_its_own(config):
    requests = plan_requests(find("gsm8k"), config("sampling.samples=4", "sampling.temperature=1"))
    assert len(requests) == 12
    assert len({request.key for request in requests}) == len({request.seed(0) for request in requests}) == 12
    assert [r.seed(0) for r in requests] != [r.seed(1) for r in requests]
    assert len(plan_requests(find("gsm8k"), config("limit=2"))) == 2


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["benchmarks=[gsm9k]"], r"there is no 'gsm9k'; there are gsm8k, math500, amc23"),
        (["benchmarks=[amc23]"], r"data/amc23/test\.parquet is not there; run: python examples/.*/amc23\.py"),
        (["sampling.samples=4"], r"sampling\.samples=4: greedy samples are all the same"),
        (["sampling.top_p=0"], r"top_p above 0"),
        ([], r"nowhere: there is no such folder"),
        (["model=no/such-model"], r"no model at no/such-model"),
        (["device=gpu", "engine.tensor_parallel_size=99"], r"tensor_parallel_size=99 but torch sees"),
    ],
)
def test_refusals(config, overrides, says):
    with pytest.raises(ConfigError, match=says):
        evaluate(config(*overrides), console=None)


def test_questions_that_a_model_would_read_as_something_else_are_refused(config, file):
    rows = pd.read_parquet(file)
    rows["prompt"] = [[{"role": "human", "content": "How many?"}]] * len(rows)
    rows.to_parquet(file)
    with pytest.raises(
        ConfigError, match=r"gsm8k: .* a message of the role 'human', .* \(write user\) in row 1 and 2 more"
    ):
        evaluate(config(), console=None)


def test_protocol_overrides(config):
    sampling = config("sampling.samples=2", "sampling.temperature=0.7").sampling
    protocol = protocol_of(find("gsm8k"), sampling)
    assert (protocol.samples, protocol.temperature, protocol.top_p) == (2, 0.7, 1)


def test_the_log_survives_a_kill_and_refuses_another_evaluation(config, tmp_path):
    first, *others = answers(config(), [completion(gold) for gold in GOLDS])
    log = GenerationsLog(tmp_path / "out", {"seed": 0})
    log.append([first])
    with log.path.open("a") as file:
        file.write('{"benchmark": "gs')  # killed while it wrote
    again = GenerationsLog(tmp_path / "out", {"seed": 0})
    assert again.done == [first]
    again.append(others)
    assert summarize(again.read())["accuracy"] == 1
    with pytest.raises(ConfigError, match=r"holds an evaluation with other settings \(seed\)"):
        GenerationsLog(tmp_path / "out", {"seed": 1})


def test_results_keep_accuracy_apart_from_the_shaped_reward(config):
    rows = pd.DataFrame(answers(config(), [completion("4"), "<answer>5</answer>", completion("7")]))
    result = summarize(rows)
    assert (result["questions"], result["samples"]) == (3, 1)
    assert result["accuracy"] == result["format"] == pytest.approx(2 / 3)
    assert result["reward"] == pytest.approx((3 + 2 + 1) / 3)
    (interval,) = result["intervals"].values()
    assert interval["low"] < 2 / 3 < interval["high"] and interval["method"] == "Wilson"


def test_several_samples_give_pass_and_majority(config):
    sampled = config("sampling.samples=4", "sampling.temperature=1")
    texts = [*map(completion, "4499"), *map(completion, "5999"), *map(completion, "1234")]
    result = summarize(pd.DataFrame(answers(sampled, texts)))
    assert result["accuracy"] == pytest.approx(3 / 12)
    assert result["pass@4"] == pytest.approx(2 / 3)
    assert result["pass@2"] == pytest.approx((1 - 1 / 6 + 1 / 2 + 0) / 3)
    assert result["maj@4"] == pytest.approx((0.5 + 0 + 0) / 3)
    assert list(result["intervals"]) == ["accuracy", "pass@2", "pass@4", "maj@4"]
    for name, interval in result["intervals"].items():
        assert interval["low"] <= result[name] <= interval["high"] and interval["low"] < interval["high"], name


def evaluated(config, folder: Path, texts: list[str]) -> Path:
    """What an evaluation with these completions leaves behind."""
    requests = plan_requests(find("gsm8k"), config)
    log = GenerationsLog(folder, settings(config, Model("model", "model", ""), requests))
    log.append(record(Completion(r, completion(t), 7, truncated=False)) for r, t in zip(requests, texts, strict=False))
    return folder


def test_two_evaluations_are_compared_on_the_same_questions(config, tmp_path, capsys):
    a, b = (evaluated(config(), tmp_path / name, list(given)) for name, given in (("a", "999"), ("b", "456")))
    found = compare_folders(a, b)["gsm8k"]
    assert (found.accuracy_a, found.accuracy_b, found.p_value) == (0, 1, pytest.approx(0.25))
    assert cppo_verl("compare", a, b) == 0
    assert "+100.00" in capsys.readouterr().out


def test_other_or_unfinished_evaluations_are_not_compared(config, tmp_path):
    sampled = config("sampling.samples=2", "sampling.temperature=1")
    whole = evaluated(sampled, tmp_path / "whole", list("445566"))
    with pytest.raises(ConfigError, match="gsm8k is not finished"):
        compare_folders(whole, evaluated(sampled, tmp_path / "part", list("44556")))
    with pytest.raises(ConfigError, match="gsm8k is not finished"):
        compare_folders(whole, evaluated(config("sampling.temperature=1"), tmp_path / "fewer", list("45")))
    with pytest.raises(ConfigError, match=r"gsm8k: not the same protocol in both: .*temperature"):
        compare_folders(whole, evaluated(config(), tmp_path / "greedy", list("456")))
    with pytest.raises(ConfigError, match="not the same questions"):
        compare_folders(whole, evaluated(config("limit=2"), tmp_path / "limited", list("45")))
    once = evaluated(config("sampling.temperature=1"), tmp_path / "once", list("456"))
    assert compare_folders(whole, once)["gsm8k"].p_value == 1, "another number of samples"
    with (once / "generations.jsonl").open("a") as file:
        file.write('{"benchmark": "gs')  # being written
    assert compare_folders(whole, once)["gsm8k"].p_value == 1


def test_surrogates_and_nulls_are_written(config, tmp_path):
    log = GenerationsLog(tmp_path / "out", {})
    log.append(answers(config("limit=1"), ["\ud800\x00\u202e"]))
    assert json.loads(log.path.read_text())["completion"] == "\ud800\x00\u202e"


def test_accuracy_is_counted_both_ways_where_a_formula_stands_for_a_number():
    outcomes = ["equal", "unworked", "different", "unworked"]
    rows = pd.DataFrame(
        {"index": range(4), "sample": 0, "acc": [float(o == "equal") for o in outcomes], "outcome": outcomes}
        | dict.fromkeys(("format", "score", "truncated", "tokens"), 1.0)
        | {"answer": "", "verify_failed": 0.0}
    )
    found = summarize(rows)
    assert (found["accuracy"], found["in any form"]) == (0.25, 0.75)
    assert "in any form" in found["intervals"]
    assert "in any form" not in summarize(rows[rows["outcome"] != "unworked"])


def test_golds_known_to_be_wrong_are_stated(config):
    questions = [request.question for request in plan_requests(find("gsm8k"), config())]
    questions[1].extra_info["known_error"] = "published gold '5' is known to be wrong: kept"
    assert known_errors(questions) == {1: "published gold '5' is known to be wrong: kept"}

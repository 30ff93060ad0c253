import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cppo_verl.rewards.gsm8k import compute_score, extract_answer, parse_gold
from cppo_verl.rewards.tags import TAGS, has_format, last_answer

KEYS = {"score", "acc", "format"}
LONG = "x" * 100_000

FORMATS = [
    ("<think>a</think>\n<answer>b</answer>", True),
    ("<think>\na\n\nb\n</think>\n<answer>\n5\n</answer>", True),
    ("<think></think>\n<answer></answer>", True),
    ("<think>a</think>\n<answer>b</answer> \n\t\n", True),
    ("<think>∑ 思</think>\n<answer>é</answer>", True),
    (f"<think>{LONG}</think>\n<answer>{LONG}</answer>", True),
    ("", False),
    ("\n<think>a</think>\n<answer>b</answer>", False),
    ("Sure! <think>a</think>\n<answer>b</answer>", False),
    ("<think>a</think><answer>b</answer>", False),
    ("<think>a</think>\n\n<answer>b</answer>", False),
    ("<think>a</think>\r\n<answer>b</answer>", False),
    ("<think>a</think>\n <answer>b</answer>", False),
    ("<think>a</think>\n<answer>b</answer>.", False),
    ("<think>a</think>\n<answer>b</answer>\nThe answer is 5.", False),
    ("<think>a</think>\n<answer>b", False),
    ("<answer>b</answer>\n<think>a</think>", False),
    ("<THINK>a</THINK>\n<ANSWER>b</ANSWER>", False),
    # every tag once: neither nested nor repeated
    ("<think><think>a</think>\n<answer>b</answer>", False),
    ("<think>a</think>b</think>\n<answer>b</answer>", False),
    ("<think>a <answer>5</answer></think>\n<answer>b</answer>", False),
    ("<think>a</think>\n<answer>5</answer><answer>6</answer>", False),
    ("<think>a</think>\n<answer>5</answer>\n<think>a</think>\n<answer>6</answer>", False),
    ("<think>" * 14_000, False),
]

ANSWERS = [  # text of the answer block, gold, accuracy
    ("72", "72", 2.0),
    (" \n72\n ", "72", 2.0),
    ("1,234", "1234", 2.0),
    ("1,234,567", "1,234,567", 2.0),
    ("-5", "-5", 2.0),
    ("$72", "72", 1.5),
    ("72 dollars", "72", 1.5),
    ("$1,234.00", "1234", 1.5),
    ("72.", "72", 1.5),
    ("72.0", "72", 1.5),
    ("+72", "72", 1.5),
    ("0.50", "0.5", 1.5),
    (".5", "0.5", 1.5),
    ("72%", "72", 1.5),
    ("\u22125", "-5", 1.5),
    ("x = -5", "-5", 1.5),
    ("covid-19", "19", 1.5),  # a hyphen in a word is no sign
    ("9" * 400 + " eggs", "9" * 400, 1.5),
    ("9" * 400 + " eggs", "9" * 399 + "8", 0.0),  # equal as floats, not as numbers
    ("-72", "72", 0.0),
    ("72.5", "72", 0.0),
    ("1,2", "12", 0.0),
    ("12,34", "1234", 0.0),
    ("60 + 12 = 72", "72", 0.0),
    ("71 or 72", "72", 0.0),
    ("72/1", "72", 0.0),
    ("7 2", "72", 0.0),
    ("seventy-two", "72", 0.0),
    ("٧٢", "72", 0.0),
    ("", "72", 0.0),
    (LONG, "72", 0.0),
    ("1" * 100_000, "72", 0.0),
    ("1," * 50_000, "72", 0.0),
]


@pytest.mark.parametrize(("completion", "expected"), FORMATS)
def test_format(completion: str, expected: bool) -> None:
    assert has_format(completion) is expected


@pytest.mark.parametrize(("answer", "gold", "accuracy"), ANSWERS)
def test_accuracy(answer: str, gold: str, accuracy: float) -> None:
    result = score(f"<think>t</think>\n<answer>{answer}</answer>", gold)
    assert result == {"score": 1.0 + accuracy, "acc": float(accuracy > 0), "format": 1.0}


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("", None),
        ("no tags", None),
        ("</answer>5<answer>", None),
        ("<answer>5", None),
        ("<answer>5</answer>", "5"),
        ("<answer>5</answer> and <answer>6</answer>", "6"),
        ("<answer>5</answer> and <answer>6", "5"),
        ("<answer>5<answer>6</answer>", "6"),
        ("<answer>5</answer>6</answer>", "5"),
        ("<answer>" * 12_000 + "5</answer>", "5"),
    ],
)
def test_the_last_closed_answer_counts(completion: str, answer: str | None) -> None:
    assert last_answer(completion) == answer


def test_wrong_format_with_right_answer_is_one_of_the_papers_four_kinds() -> None:
    assert score("Let me see. <answer>72</answer>", "72") == {"score": 2.0, "acc": 1.0, "format": 0.0}


def test_last_number_counts_only_on_request() -> None:
    for completion in ("The answer is 72.", "<think>a</think>\n<answer>70 + 2 = 72</answer>"):
        assert score(completion, "72")["acc"] == 0.0
        assert score(completion, "72", credit_last_number=True)["acc"] == 1.0
    assert score("The answer is 72.", "72", credit_last_number=True)["score"] == 1.5
    assert score("72, or rather 73", "72", credit_last_number=True)["acc"] == 0.0
    assert score("<answer>72</answer> 9", "72", credit_last_number=True)["score"] == 2.0


def test_called_as_verl_calls_it() -> None:
    result = compute_score(
        data_source="openai/gsm8k",
        solution_str="<answer>72</answer>",
        ground_truth="72",
        extra_info={"num_turns": None},
        reward_router_address="localhost:1",
        reward_model_tokenizer=None,
    )
    assert result["score"] == 2.0


pieces = st.lists(st.sampled_from([*TAGS, "\n", " ", "7", "2", ",", ".", "-", "72", "x"]), max_size=30).map("".join)


@settings(derandomize=True)
@given(
    completion=st.one_of(st.text(), pieces),
    gold=st.one_of(st.just("72"), st.text(max_size=20)),
    last=st.booleans(),
)
def test_any_text_gets_a_score(completion: str, gold: str, last: bool) -> None:
    result = score(completion, gold, credit_last_number=last)
    assert set(result) == KEYS
    assert result["score"] - result["format"] in {0.0, 1.5, 2.0}
    assert result["acc"] == float(result["score"] > result["format"])
    assert result["format"] in {0.0, 1.0}


@given(body=st.text(alphabet=st.characters(exclude_characters="<>")), end=st.sampled_from(["", "\n", "  "]))
@settings(derandomize=True)
def test_text_without_tags_never_spoils_the_format(body: str, end: str) -> None:
    assert has_format(f"<think>{body}</think>\n<answer>{body}</answer>{end}")


@pytest.mark.parametrize(
    ("answer", "gold"), [("a #### 72", "72"), ("#### 1,080 ", "1080"), ("#### 3\n#### -4.5", "-4.5")]
)
def test_gold(answer: str, gold: str) -> None:
    assert parse_gold(answer) == gold


@pytest.mark.parametrize("answer", ["", "72", "####", "#### none", "#### 1 or 2"])
def test_bad_gold_is_refused(answer: str) -> None:
    with pytest.raises(ValueError, match="####"):
        parse_gold(answer)


def test_published_solutions_score_in_full(shared_data) -> None:
    with gzip.open(shared_data / "gsm8k" / "train.jsonl.gz", "rt", encoding="utf-8") as lines:
        golds = [parse_gold(json.loads(line)["answer"]) for line in lines]
    assert all(score(f"<think>t</think>\n<answer>{gold}</answer>", gold)["score"] == 3.0 for gold in golds)


def score(completion: str, gold: str, **options: bool) -> dict[str, float]:
    return compute_score("openai/gsm8k", completion, gold, **options)


@pytest.mark.parametrize(
    ("answer", "vote"),
    [
        *((same, "18") for same in ("18", "18.0", "$18", " 18.\n", "+18", "018", "18 dollars", "x = 18.00")),
        *((same, "1234") for same in ("1,234", "$1234.0", "1234 eggs")),
        *((same, "0") for same in ("0", "-0", "0.00", "-.0")),
        ("100", "100"),
        (".50", "0.5"),
        ("\N{MINUS SIGN}5", "-5"),
        ("9" * 400, "9" * 400),
        ("1  or\n2", "1 or 2"),
        ("many", "many"),
        (" ", None),
    ],
)
def test_votes_for_the_same_number_are_the_same(answer: str, vote: str | None) -> None:
    assert extract_answer(f"<think>t</think>\n<answer>{answer}</answer>") == vote


def test_no_answer_no_vote() -> None:
    assert extract_answer("The answer is 18.") is None


@given(text=st.text(max_size=40))
def test_any_text_gets_a_vote(text: str) -> None:
    vote = extract_answer(f"<answer>{text}</answer>")
    assert vote is None or vote == extract_answer(f"<answer>{vote}</answer>")

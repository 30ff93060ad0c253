import gzip
import json
import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cppo_verl.rewards.gsm8k import compute_score, extract_answer, parse_gold
from cppo_verl.rewards.numbers import find_numbers
from cppo_verl.rewards.tags import MAX_CHARS, TAGS, has_format, last_answer

KEYS = {"score", "acc", "format", "verify_failed", "outcome"}
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
    *((same, "72", 1.5) for same in (r"\$72", r"72\%", r"\(72\)", "**72**", "x=72", "Answer: 72", '"72"', "+ 72")),
    ("72 cm²", "72", 1.5),  # the unit's
    (r"72^{\circ}", "72", 1.5),
    *((minus, "-72", 1.5) for minus in ("- 72", "\u201372", "\u2014 72", "minus 72", "Negative 72", "-$72", r"-\$72")),
    *((minus, "-72", 1.5) for minus in (r"\text{-}72", r"-\,72", "- **72**", "-(72)", "$-72", "_-72_", "-\u200b72")),
    ("-" + "9" * 400 + " eggs", "-" + "9" * 400, 1.5),
    ("-" + "9" * 400 + " eggs", "-" + "9" * 399 + "8", 0.0),
    ("Answer\N{EM DASH}72", "72", 1.5),  # as a hyphen in a word
    ("not 72", "72", 1.5),  # words are not read: docs/rewards.md
    ("\u22125", "-5", 1.5),
    ("x = -5", "-5", 1.5),
    ("covid-19", "19", 1.5),  # a hyphen in a word is no sign
    ("9" * 400 + " eggs", "9" * 400, 1.5),
    ("9" * 400 + " eggs", "9" * 399 + "8", 0.0),  # equal as floats, not as numbers
    ("-72", "72", 0.0),
    *((signed, "72", 0.0) for signed in ("--72", "-(-72)", "---\n72", "±72", r"\pm 72")),
    *((signed, "-72", 0.0) for signed in ("--72", "-(-72)")),
    *((changed, "72", 0.0) for changed in ("√72", "√ 72", r"\sqrt{72}", "sqrt(72)", "72!", "(72)!", "72 !", "≠72")),
    *((changed, "72", 0.0) for changed in ("72²", "72 ²", "72⁻¹", "72^x", "^72", "72½", "72₈", "72! or 72", "72² 72")),
    *((mixed, "72", 0.0) for mixed in ("\u066772", "72\u0667", "72.\u0665", "\u0667,72", "\uff1772")),
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
    assert (result.pop("outcome") == "equal") is (accuracy > 0)
    assert result == {"score": 1.0 + accuracy, "acc": float(accuracy > 0), "format": 1.0, "verify_failed": 0.0}


numbers = st.decimals(0, 10**12, places=2).map(str) | st.integers(0, 10**60).map(str)
glue = st.text(" ([{*$_\u200b", max_size=4)


@settings(derandomize=True)
@given(number=numbers, glue=glue, sign=st.sampled_from(["-", "\u2013", "\u2014", "\u2212", "minus ", "negative "]))
def test_a_sign_counts_across_what_says_nothing(number: str, glue: str, sign: str) -> None:
    assert find_numbers(f"x = {sign}{glue}{number} dollars") == [Decimal(f"-{number}")]


@settings(derandomize=True)
@given(number=numbers, glue=glue, before=st.sampled_from(["√", "^", "±", "≠", r"\sqrt", "\u0667", "²", "--", "½"]))
def test_a_number_is_not_read_after_what_changes_it(number: str, glue: str, before: str) -> None:
    assert find_numbers(f"x = {before}{glue}{number} dollars") == [None]


@settings(derandomize=True)
@given(number=numbers, glue=glue, after=st.sampled_from(["!", "^", "²", "⁻", "\u0667", ".\u0667", "½"]))
def test_a_number_is_not_read_before_what_changes_it(number: str, glue: str, after: str) -> None:
    assert find_numbers(f"x = {number}{glue}{after} dollars") == [None]


@settings(derandomize=True)
@given(number=numbers, before=st.sampled_from(["", "$", r"\$", "x = ", "+", "about ", "**", "("]))
@pytest.mark.parametrize("after", ["", ".", "%", r"\%", " dollars", " dollars!", " m²", ")", "**", "$"])
def test_a_correct_form_is_read(number: str, before: str, after: str) -> None:
    assert find_numbers(f"{before}{number}{after}") == find_numbers(number) != [None]


@pytest.mark.parametrize(
    ("completion", "gold", "outcome"),
    [
        ("<answer>72</answer>", "72", "equal"),
        ("<answer>$72</answer>", "72", "equal"),
        ("<answer>71</answer>", "72", "different"),
        ("72", "72", "no_answer"),
        ("<answer> </answer>", "72", "no_answer"),
        ("<answer>many</answer>", "72", "unparseable"),
        ("<answer>71 or 72</answer>", "72", "unparseable"),
        ("<answer>72!</answer>", "72", "unparseable"),
        (f"<answer>72{' ' * MAX_CHARS}dollars</answer>", "72", "too_long"),
        ("<answer>72</answer>", "many", "bad_gold"),
        ("<answer>many</answer>", "many", "equal"),
    ],
)
def test_the_reason_is_told(completion: str, gold: str, outcome: str) -> None:
    result = score(completion, gold)
    assert (result["outcome"], result["verify_failed"]) == (outcome, float(outcome == "bad_gold"))


@pytest.mark.parametrize(
    "piece", ["1", "1 ", "1,234,", "- ", "minus ", "(", "√", "!", "72!", "<answer>", "\u0667", ".", "x^"]
)
def test_a_megabyte_is_read_in_a_moment(piece: str) -> None:
    text = piece * (2**20 // len(piece))
    start = time.process_time()
    assert score(f"<answer>{text}</answer>", "72", credit_last_number=True)["acc"] == 0
    assert score(text, "72", credit_last_number=True)["acc"] == 0
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize(("gold", "answer"), [(72, "72"), (72.0, "72"), (0.5, "0.5"), (-3, "-3")])
def test_a_gold_that_is_a_number_is_read_as_written(gold: float, answer: str) -> None:
    assert score(f"<answer>{answer}</answer>", gold)["score"] == 2.0


@pytest.mark.parametrize("gold", [None, float("nan"), True, ["72"], {"target": "72"}])
def test_a_gold_that_is_no_text_is_refused_by_value(gold: object) -> None:
    with pytest.raises(TypeError, match="the gold must be text, not "):
        score("<answer>72</answer>", gold)


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
    result = score("Let me see. <answer>72</answer>", "72")
    assert (result["score"], result["acc"], result["format"]) == (2.0, 1.0, 0.0)


def test_last_number_counts_only_on_request() -> None:
    for completion in ("The answer is 72.", "<think>a</think>\n<answer>70 + 2 = 72</answer>"):
        assert score(completion, "72")["acc"] == 0.0
        assert score(completion, "72", credit_last_number=True)["acc"] == 1.0
    assert score("The answer is 72.", "72", credit_last_number=True)["score"] == 1.5
    assert score("72, or rather 73", "72", credit_last_number=True)["acc"] == 0.0
    assert score("<answer>72</answer> 9", "72", credit_last_number=True)["score"] == 2.0
    assert score("It is 72!", "72", credit_last_number=True)["acc"] == 0.0
    assert score(f"{LONG} 72", "72", credit_last_number=True)["outcome"] == "equal"
    assert score(f"172{'x' * (MAX_CHARS - 2)}", "72", credit_last_number=True)["acc"] == 0.0, "no half a number"


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

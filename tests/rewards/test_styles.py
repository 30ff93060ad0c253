"""The rewards of the styles `####` and `\\boxed{}`: 1 or 0, nothing for the format."""

import pytest

from cppo_verl.rewards import gsm8k, gsm8k_hash, math, math_boxed

HASH = {
    "8*9 = 72\n#### 72": (1, "equal"),
    "#### 72.0": (1, "equal"),
    "#### 1,072": (0, "different"),
    "#### $72 dollars": (1, "equal"),
    "#### 72\nThat is 8*9, or 9*8.": (1, "equal"),
    "#### 71\n#### 72": (1, "equal"),
    "#### 72\n#### 71": (0, "different"),
    "#### 71 or 72": (0, "unparseable"),
    "####": (0, "no_answer"),
    "####\n72": (0, "no_answer"),
    "The answer is 72.": (0, "no_answer"),
    "<think>8*9</think>\n<answer>72</answer>": (0, "no_answer"),
    "": (0, "no_answer"),
    "#### " + "7" * 3000: (0, "too_long"),
}
BOXED = {
    r"so \boxed{\frac{1}{2}}": (1, "equal"),
    r"\boxed{0.5}.": (1, "equal"),
    r"\boxed{2}, no, \boxed{\frac12}": (1, "equal"),
    r"\boxed{\frac12}, no, \boxed{2}": (0, "different"),
    r"\boxed{1, \frac12}": (0, "different"),
    r"\boxed{\frac12": (0, "no_answer"),
    r"<think>x</think><answer>\frac12</answer>": (0, "no_answer"),
    "#### 0.5": (0, "no_answer"),
}


@pytest.mark.parametrize("completion", HASH)
def test_the_number_after_the_last_marker(completion):
    score, outcome = HASH[completion]
    found = gsm8k_hash.compute_score("openai/gsm8k", completion, "72")
    assert (found["score"], found["acc"], found["outcome"]) == (score, score, outcome)
    assert found["format"] == float("####" in completion)


@pytest.mark.parametrize("completion", BOXED)
def test_the_last_box(completion):
    score, outcome = BOXED[completion]
    found = math_boxed.compute_score("math", completion, r"\frac{1}{2}")
    assert (found["score"], found["acc"], found["outcome"]) == (score, score, outcome)
    assert found["format"] == float(outcome != "no_answer")


def test_every_reward_reports_the_same_keys():
    rewards = (gsm8k, gsm8k_hash, math, math_boxed)
    assert len({tuple(reward.compute_score("", "#### 1", "1")) for reward in rewards}) == 1


def test_a_gold_that_is_no_number_is_counted_and_one_that_is_no_text_refused():
    assert gsm8k_hash.compute_score("", "#### 72", "many")["verify_failed"] == 1.0
    for reward in (gsm8k_hash, math_boxed):
        assert reward.compute_score("", "#### 72\n\\boxed{72}", 72.0)["score"] == 1.0
        with pytest.raises(TypeError, match="the gold must be text"):
            reward.compute_score("", "#### 72", None)


def test_votes():
    assert gsm8k_hash.extract_answer("#### 1,072.0\nrest") == "1072"
    assert gsm8k_hash.extract_answer("#### either") == "either"
    assert gsm8k_hash.extract_answer("1072") is None
    assert math_boxed.extract_answer(r"\boxed{18.0}") == "18"

"""The reward for MATH: boxes, equality, golds; processes that compare are in test_workers."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cppo_verl.rewards import symbolic
from cppo_verl.rewards.forms import form_of
from cppo_verl.rewards.latex import last_boxed
from cppo_verl.rewards.math import compute_score, compute_scores, extract_answer, parse_answer, parse_gold, parse_number
from cppo_verl.rewards.olympiad import compute_score as olympiad_score
from cppo_verl.rewards.tags import MAX_CHARS

KEYS = {"score", "acc", "format", "verify_failed", "outcome"}


@pytest.fixture(scope="module", autouse=True)
def stop_workers() -> Iterator[None]:
    yield
    symbolic.shutdown()


@pytest.mark.parametrize(
    ("text", "boxed"),
    [
        (r"so $\boxed{5}$.", "5"),
        (r"\boxed{4} no, \boxed{5}", "5"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\left\{ 1 \right.}", r"\left\{ 1 \right."),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed {5}", "5"),
        (r"\boxed 2$.", "2"),
        (r"\boxed\pi$", r"\pi"),
        (r"\boxed{1 + \boxed{2}}", "2"),
        (r"\boxed{}", ""),
        (r"\boxed{5", None),
        (r"\boxed{4} then \boxed{5", None),
        (r"\boxed", None),
        (r"$\boxed{5}$, in \boxed as asked", "5"),
        (r"\boxed{5}, as \boxed.", "5"),
        (r"\fbox{5}", "5"),
        (r"\boxedx{5}", None),
        ("5", None),
        ("", None),
        (r"\boxed{" * 14_000, None),
        (r"\boxed{" + "{" * 100_000 + "}" * 100_001, "{" * 100_000 + "}" * 100_000),
    ],
)
def test_last_boxed(text: str, boxed: str | None) -> None:
    assert last_boxed(text) == boxed


@pytest.mark.parametrize(
    ("gold", "answer", "outcome"),
    [
        ("5", "5", "equal"),
        ("5", "5.", "equal"),
        ("5", "$5$", "equal"),
        (r"\frac12", "0.5", "equal"),
        (r"\dfrac{1}{2}", r"\frac{2}{4}", "equal"),
        (r"32,\!000", r"\$32000", "equal"),
        (r"64\%", "64", "equal"),
        ("x=5", "5", "equal"),
        (r"(x+1)^2+1", "x^2+2x+2", "equal"),
        (r"(x+1)^2", "x^2+2x+1", "unworked"),
        (r"\{1,2\}", "2, 1", "equal"),
        ("a + b + c", "c + b + a", "equal"),
        (r"\sin^2 t", r"\sin^2(t)", "equal"),
        (r"\text{Evelyn}", "Evelyn", "equal"),
        (r"10\text{ cm}", "10", "equal"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ \frac{4}{2} \end{pmatrix}", "equal"),
        (r"5\!:\!00", "5:00", "equal"),
        ("5", "6", "different"),
        ("5", "5, 6", "different"),
        ("5", r"5 \text{ or } 6", "different"),
        ("5", "$5$ or $6$", "different"),
        ("a + b + c", "a + b", "different"),
        (r"64\%", "0.64", "different"),
        ("5", r"\frac{1}{0}", "unparseable"),
        ("5", "4=5", "different"),
        ("5", "1=1=5", "different"),
        ("5", "x=4=5", "different"),
        ("5", "{4} = 5", "different"),
        ("1234", "1,235=1234", "different"),
        ("5", "5=5.0", "equal"),
        ("5", "x=5", "equal"),
        ("5", "2+3=5", "equal"),
        ("5", "", "no_answer"),
        ("5", "((((", "unparseable"),
        ("5", "5" * (MAX_CHARS + 1), "too_long"),
        ("5", "9" * 1_000_000, "too_long"),
        ("5", "{" * 10_000 + "5" + "}" * 10_000, "too_long"),
        ("((((", "5", "bad_gold"),
    ],
)
def test_equality(gold: str, answer: str, outcome: str) -> None:
    assert score(rf"\boxed{{{answer}}}", gold)["outcome"] == outcome


def test_a_gold_that_is_no_text() -> None:
    assert [score(r"\boxed{\frac{10}{2}}", gold)["acc"] for gold in (5, 5.0)] == [1.0, 1.0]
    with pytest.raises(TypeError, match=r"the gold must be text, not None \(NoneType\)"):
        score(r"\boxed{5}", None)


def test_score_is_format_plus_accuracy() -> None:
    right, wrong = r"\boxed{\frac{4}{8}}", r"\boxed{3}"
    layout = "<think>t</think>\n<answer>{}</answer>".format
    scores = [score(text, "0.5")["score"] for text in (layout(right), layout(wrong), right, wrong)]
    assert scores == [3.0, 1.0, 2.0, 0.0]
    none = {"score": 0.0, "acc": 0.0, "format": 0.0, "verify_failed": 0.0, "outcome": "no_answer"}
    assert score("no box", "0.5") == none


latex_pieces = st.lists(
    st.sampled_from(
        [
            "1",
            "2",
            "x",
            "+",
            "-",
            "/",
            "{",
            "}",
            "(",
            ")",
            "[",
            "$",
            ",",
            r"\frac",
            r"\sqrt",
            r"\boxed{",
            "^2",
            " ",
            "%",
            "=",
            r"\text",
            "\\",
        ]
    ),
    max_size=12,
).map("".join)


@settings(derandomize=True, max_examples=60)
@given(text=st.one_of(st.text(max_size=50), latex_pieces), gold=st.sampled_from(["5", r"\frac{1}{2}", "x", ""]))
def test_any_text_gets_a_score(text: str, gold: str) -> None:
    for completion in (text, rf"\boxed{{{text}}}"):
        result = score(completion, gold)
        assert set(result) == KEYS
        assert (result["score"], result["acc"], result["format"]) in {(0.0, 0.0, 0.0), (2.0, 1.0, 0.0)}
        assert result["verify_failed"] in {0.0, 1.0}


def test_gold() -> None:
    assert parse_gold(r"Hence $\boxed{\frac{1}{2}}$.") == r"\frac{1}{2}"
    assert parse_gold(r"\boxed{5:00}") == "5:00"  # without a value: only the same text equals it
    for solution in ("5", r"\boxed{}", r"\boxed{5", r"\boxed{((((}", rf"\boxed{{{'5' * (MAX_CHARS + 1)}}}"):
        with pytest.raises(ValueError, match="box"):
            parse_gold(solution)


@pytest.mark.parametrize(
    ("published", "right", "wrong"),
    [
        # AMC: floats
        ("27.0", ["27", "27.0", r"27\text{ miles}", r"\frac{54}{2}", "x=27"], ["2.7", "-27", "270", "27, 28"]),
        ("-1.0", ["-1", "-1.0"], ["1", "1.0", r"\pm 1", r"\sin\frac{3\pi}{2}"]),
        ("3159.0", ["3159", "3,159", r"3{,}159"], ["3.159", "3160"]),
        # AIME: zeros in front
        ("025", ["25", "025", "25.0"], ["250", "2.5", "24"]),
        ("073", ["73", "073"], ["37", "0.73"]),
        ("204", ["204", r"204\text{ minutes}"], ["240", "20"]),
        # MATH-500 and LIMR
        (r"\left( 3, \frac{\pi}{2} \right)", [r"(3,\frac{\pi}{2})", r"(3, \pi/2)"], [r"(\frac{\pi}{2}, 3)", "3"]),
        (r"40\text{ feet}", ["40", r"40 \text{ feet}"], ["4", r"\frac{1}{40}"]),
        (r"\$ 1.06", ["1.06", r"\$1.06"], ["106"]),
        (r"4 + i, 4 - i", ["4-i, 4+i"], ["4+i", "4+i, 4-2i"]),
    ],
)
def test_benchmark_answers(published: str, right: list[str], wrong: list[str]) -> None:
    is_number = published.lstrip("-").replace(".", "").isdigit()
    for gold in {published, parse_number(published) if is_number else parse_answer(published)}:
        for answers, accuracy in ((right, 1.0), (wrong, 0.0)):
            for answer in answers:
                assert score(rf"Therefore, the final answer is: $\boxed{{{answer}}}$.", gold)["acc"] == accuracy, answer


def test_numbers_are_golds_in_plain_digits() -> None:
    assert [parse_number(text) for text in ("27.0", "-1.0", "025", "000", "2.50")] == ["27", "-1", "25", "0", "2.5"]
    for text in ("", "nan", "1 or 2", "x"):
        with pytest.raises(ValueError, match="not one number"):
            parse_number(text)
    assert parse_answer(r" \frac{1}{2} ") == r"\frac{1}{2}"
    with pytest.raises(ValueError, match="cannot be read"):
        parse_answer("((((")


def test_tolerance_is_the_distance_of_two_numbers() -> None:
    def near(answer: str, gold: str = "4.2", error: float = 0.1) -> float:
        return olympiad_score("", rf"\boxed{{{answer}}}", gold, {"error": error})["acc"]

    assert [near(answer) for answer in ("4.1", "4.3", r"\sqrt{17}", "4.31", "x")] == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_completions_that_come_together_are_scored_as_one_by_one_and_equal_ones_compared_once(monkeypatch) -> None:
    layout = "<think>t</think>\n<answer>\\boxed{{{}}}</answer>".format
    answers = ["x+1", "1+x", "x", "1+x", "70+2"]
    rows = [(layout(answer), "x+1", None) for answer in answers] + [(layout("70+2"), "72", {})]
    together = compute_scores(rows)
    assert together == [score(completion, gold, extra) for completion, gold, extra in rows]
    assert [found["outcome"] for found in together] == ["equal", "equal", "different", "equal", "different", "unworked"]
    judged = []
    monkeypatch.setattr(compute_score.__class__, "_outcome", lambda *asked: judged.append(asked) or "equal")
    compute_score.of_many(rows)
    assert len(judged) == len(rows) - 1


def test_a_formula_for_a_number_pays_on_request_alone() -> None:
    assert score(r"\boxed{71+1}", "72")["outcome"] == "unworked"
    assert score(r"\boxed{71+1}", "72", credit_unworked=True) == score(r"\boxed{72}", "72")
    assert score(r"\boxed{71+2}", "72", credit_unworked=True)["acc"] == 0.0


def test_the_question_says_whether_a_formula_was_copied() -> None:
    expand = {"question": "Expand $(x+1)(x+2)$."}
    assert score(r"\boxed{(x+1)(x+2)}", "x^2+3x+2", expand)["outcome"] == "unworked"
    assert score(r"\boxed{x^2+2+3x}", "x^2+3x+2", expand)["acc"] == 1.0
    assert score(r"\boxed{(x+2)(x+1)}", "x^2+3x+2", {"question": "What is the area?"})["acc"] == 1.0
    assert score(r"\boxed{(x+2)(x+1)}", "x^2+3x+2")["outcome"] == "unworked", "without a question, the gold's form"
    reduce = {"question": r"Simplify $\frac{84}{144}$."}
    assert score(r"\boxed{\frac{84}{144}}", r"\frac{7}{12}", reduce)["outcome"] == "unworked"
    assert score(r"\boxed{7/12}", r"\frac{7}{12}", reduce)["acc"] == 1.0
    assert score(r"\boxed{12}", "12.0", {"question": "There are $12$ boys."})["acc"] == 1.0


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (r"((x+1)(x+2))", "unworked"),
        (r"(2+x)\cdot(x+1)", "unworked"),
        (r"\frac{(x+1)(x+2)}{1}", "unworked"),
        (r"1(x+1)(x+2)", "unworked"),
        (r"(x+1)(x+2)+0", "unworked"),
        (r"(x+1)(x+2) = y", "unworked"),
        (r"(x+1)(x+2)\text{ units}", "unworked"),
        (r"(-x-1)(-x-2)", "equal"),
        (r"x^2+2+3x", "equal"),
        (r"x^2+3x+1", "different"),
    ],
)
def test_a_formula_of_the_question_in_another_order_or_brackets_is_copied(answer: str, outcome: str) -> None:
    expand = {"question": "Expand $(x+1)(x+2)$."}
    assert score(rf"\boxed{{{answer}}}", "x^2+3x+2", expand)["outcome"] == outcome


@pytest.mark.parametrize(
    ("answer", "gold", "formula", "outcome"),
    [
        ("84/144", r"\frac{7}{12}", r"\frac{84}{144}", "unworked"),
        (r"\frac{9}{21}", r"\frac{3}{7}", r"\frac{-9}{-21}", "unworked"),
        (r"(-9)/(-21)", r"\frac{3}{7}", r"\frac{-9}{-21}", "unworked"),
        ("(3/7)", r"\frac{3}{7}", "3/7", "equal"),
        ("(5)", "5.0", "5", "equal"),
        ("(x^2-1)/(x-1)", "x+1", r"\frac{x^2-1}{x-1}", "unworked"),
        ("(x+2)(x+1)", "(x+1)(x+2)", "(x+2)(x+1)", "equal"),
        (r"36\pi", r"36\pi\text{ cm}", r"36\pi", "equal"),
        (r"\sin x\cos y", r"\sin x\cos y", r"\cos y\sin x", "equal"),
        ("1.45", r"\frac{29}{20}", "1.45", "unworked"),
        (r"28\%", "0.28", r"28\%", "unworked"),
        (r"28\%", "0.28", "28", "equal"),
        (r"0.\overline{3}", r"\frac{1}{3}", r"0.\overline{3}", "unworked"),
        (r"3\frac{1}{2}", r"\frac{7}{2}", r"3\frac12", "unworked"),
        (r"\frac{7}{2}", r"3\frac{1}{2}", r"\frac72", "unworked"),
        (".0000672", r"6.72 \times 10^{-5}", ".0000672", "unworked"),
        ("42000000", r"4.2 \times 10^7", "42000000", "unworked"),
        ("0.50", "0.5", "0.50", "equal"),
        ("5.0", "5", "5.0", "equal"),
    ],
)
def test_only_another_form_than_the_golds_is_copied(answer: str, gold: str, formula: str, outcome: str) -> None:
    assert score(rf"\boxed{{{answer}}}", gold, {"question": f"What is ${formula}$?"})["outcome"] == outcome


@pytest.mark.parametrize(
    "text", ["(" * 1999, r"\frac" * 399, "x^" * 999, "|" * 1999, r"\sin" * 499, "-" * 1999, "1/" * 999]
)
def test_the_form_of_what_is_no_formula_is_its_text(text: str) -> None:
    assert form_of(text) == text


def test_votes_are_cleaned_boxes() -> None:
    assert extract_answer(r"$\boxed{ \dfrac{1}{2} . }$") == r"\frac{1}{2}"
    assert extract_answer(r"\boxed{32,\!000}") == "32000"
    assert [extract_answer(text) for text in ("2", r"\boxed{}", r"\boxed{2", r"\boxed{$}")] == [None] * 4


def score(completion: str, gold: str, extra: dict | None = None, **options: float) -> dict[str, float]:
    return compute_score("HuggingFaceH4/MATH-500", completion, gold, extra, **options)

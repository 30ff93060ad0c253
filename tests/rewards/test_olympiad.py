import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cppo_verl.rewards import symbolic
from cppo_verl.rewards.answers import parse_listing, readings, tidy
from cppo_verl.rewards.brackets import split
from cppo_verl.rewards.olympiad import compute_score, extract_answer, parse_gold
from cppo_verl.rewards.tags import MAX_CHARS

RIGHT, WRONG = 1.0, 0.0
TOWER = "9^{9^{9^9}}"


@pytest.fixture(scope="module", autouse=True)
def stop_workers() -> Iterator[None]:
    yield
    symbolic.shutdown()


def score(answer: str, gold: str, **extra: object) -> dict[str, float]:
    return compute_score("Hothan/OlympiadBench", rf"So it is $\boxed{{{answer}}}$.", gold, extra)


@pytest.mark.parametrize(
    ("gold", "answer", "acc"),
    [
        ("1,2", "2,1", RIGHT),
        ("1,2", r"x=2 \text{ or } x=1", RIGHT),
        ("1,2,3", r"1, 2, \text{ and } 3", RIGHT),
        ("1,2,3", r"3; 2 and 1", RIGHT),
        ("1,2", r"\{2,1\}", RIGHT),
        ("1,2", r"x \in \left\{1,2\right\}", RIGHT),
        ("1,2", "1", WRONG),
        ("1,2", "1,2,3", WRONG),
        ("1,2", "1,1", WRONG),
        ("-2,-2", "a=-2,b=-2", RIGHT),
        ("-2,-2", "-2", WRONG),
        (r"\frac{32}{9},\frac12", "0.5, 32/9", RIGHT),
        ("2400, 1350, 864", "2,400, 1,350, 864", RIGHT),
        ("2400, 1350, 864", r"2{,}400, 1,\!350, 864", RIGHT),
        ("2500", "2,500", RIGHT),
        ("2,500", "2,500", RIGHT),
        ("2,500", "2500", WRONG),
        ("1,-1,7,-7", r"\pm 1, \pm 7", RIGHT),
        ("1,-1,7,-7", r"\{\pm 1, \pm 7\}", RIGHT),
        ("1,-1", r"\pm 2", WRONG),
        (r"\frac{3+\sqrt{21}}{2},\frac{3-\sqrt{21}}{2}", r"x=\frac{3 \pm \sqrt{21}}{2}", RIGHT),
        ("(1,2),(-1,-2)", r"\pm(1,2)", WRONG),  # no product of a sign and a tuple
        ("(1,2),(-1,-2)", r"(\pm 1,\pm 2)", RIGHT),
        ("(1,-2),(-1,2)", r"(\pm 1,\mp 2)", RIGHT),
        ("(1,2),(-1,-2),(1,-2),(-1,2)", r"(\pm 1,\pm 2)", RIGHT),
        ("(1,2),(-1,-2),(1,-2)", r"(\pm 1,\pm 2)", WRONG),
        ("3,1+\\sqrt{2}, 1-\\sqrt{2}", r"1 \pm \sqrt2 \text{ and } 3", RIGHT),
    ],
)
def test_multiple_answers(gold: str, answer: str, acc: float) -> None:
    assert score(answer, gold)["acc"] == acc


@pytest.mark.parametrize(
    ("gold", "answer", "acc"),
    [
        ("(1,2)", "(1,2)", RIGHT),
        ("(1,2)", r"\left( 1, \frac{4}{2} \right)", RIGHT),
        ("(1,2)", "(a,b)=(1,2)", RIGHT),
        ("(1,2)", "(2,1)", WRONG),
        ("(1,2)", "1,2", WRONG),
        ("(1,2)", r"\{1,2\}", WRONG),
        (r"\{1,2\}", "(1,2)", WRONG),
        ("1,2", "(1,2)", WRONG),
        ("(1,2)", "[1,2]", WRONG),
        ("(1,2)", "(1,2,3)", WRONG),
        ("(1,1),(3,2)", "(3,2),(1,1)", RIGHT),
        ("(1,1),(3,2)", "(2,3),(1,1)", WRONG),
        (r"(45^{\circ}, 60^{\circ})", "(45,60)", RIGHT),
        (r"\quad(2+\sqrt{2}, 1+\sqrt{2})", r"(2+\sqrt2,1+\sqrt2)", RIGHT),
    ],
)
def test_tuples(gold: str, answer: str, acc: float) -> None:
    assert score(answer, gold)["acc"] == acc


@pytest.mark.parametrize(
    ("gold", "answer", "acc"),
    [
        ("(0,4]", "(0,4]", RIGHT),
        ("(0,4]", r"t \in \left(0,\sqrt{16}\right]", RIGHT),
        ("(0,4]", r"0<t\leq 4", RIGHT),
        ("(0,4]", "0<t<4", WRONG),
        ("(0,4]", "0<<(<", WRONG),
        ("(0,4]", "(0,4)", WRONG),
        ("(0,4]", "[0,4]", WRONG),
        (r"(-\infty,-5)", "a<-5", RIGHT),
        (r"(-\infty,-5)", r"a \le -5", WRONG),
        (r"k \geqslant 2", r"[2,\infty)", RIGHT),
        (r"k \geqslant 2", r"k\ge 2", RIGHT),
        (r"k \geqslant 2", "k>2", WRONG),
        (r"(-\sqrt{11},-2)\cup (\sqrt{11},9)", r"(\sqrt{11},9) \cup \left(-\sqrt{11},-2\right)", RIGHT),
        (r"(-\sqrt{11},-2)\cup (\sqrt{11},9)", r"(-\sqrt{11},-2)\cup (\sqrt{11},9]", WRONG),
        (r"(-\infty, 0) \cup\{1\}.", r"\{1\} \cup (-\infty, 0)", RIGHT),
        (r"(-\infty, 0) \cup\{1\}.", r"(-\infty, 0)", WRONG),
    ],
)
def test_intervals(gold: str, answer: str, acc: float) -> None:
    assert score(answer, gold)["acc"] == acc


@pytest.mark.parametrize(
    ("gold", "answer", "acc"),
    [
        ("f(x)=2 x", "2x", RIGHT),
        ("2n", "f(n) = 2n", RIGHT),
        ("f(n)=n^{2}", "f(x)=x^2", RIGHT),
        ("f(n)=n^{2}", "f(x)=n^2", RIGHT),
        ("f(n)=n^{2}", "f(x)=2x", WRONG),
        ("f(n)=n, g(n)=1", r"g(x)=1 \text{ and } f(x)=x", RIGHT),
        ("f(n)=n, g(n)=1", "f(n)=1, g(n)=n", WRONG),
        ("f(x)=-1,f(x)=x+1", "x+1, -1", RIGHT),
        (r"m_{\max }=n^{2}-n-1", "n(n-1)-1", RIGHT),
        (r"x=\frac{1}{6} \pi+\pi k, \frac{1}{3} \pi+\pi k", r"\frac\pi3+k\pi, \frac\pi6+k\pi, k \in \mathbb{Z}", RIGHT),
        ("x^2+y^2=1", "2x^2+2y^2=2", RIGHT),
        ("x^2+y^2=1", "x^2+y^2=2", WRONG),
        ("1024", "2^{10}=1024", RIGHT),
    ],
)
def test_equations_and_expressions(gold: str, answer: str, acc: float) -> None:
    assert score(answer, gold)["acc"] == acc


@pytest.mark.parametrize(
    ("gold", "unit", "answer", "acc"),
    [
        ("45", "minute", "45", RIGHT),
        ("45", "minute", r"45\text{ minutes}", RIGHT),
        ("45", "minute", r"45 \text{ min}", RIGHT),
        ("45", "minute", r"t = 45\,\mathrm{min}", RIGHT),
        ("45", "minute", r"45\text{ hours}", WRONG),
        ("45", "minute", r"44\text{ minutes}", WRONG),
        ("166", "$cm^2$", r"166\text{ cm}^2", RIGHT),
        ("166", "$cm^2$", r"166\,\mathrm{cm^{2}}", RIGHT),
        ("166", "$cm^2$", r"166\text{ square centimeters}", RIGHT),
        ("166", "$cm^2$", r"166\text{ cm}", WRONG),
        (r"\frac{600}{7}", "km/h", r"\frac{600}{7}\text{ km/h}", RIGHT),
        (r"\frac{600}{7}", "km/h", r"\frac{600}{7} km / h", RIGHT),
        (r"\frac{600}{7}", "km/h", r"\frac{600}{7}\text{ km}", WRONG),
        ("44", r"$^{\circ}$", r"44^\circ", RIGHT),
        ("44", r"^{\circ}", "44\N{DEGREE SIGN}", RIGHT),
        ("44", r"^{\circ}", r"44\text{ degrees}", RIGHT),
        ("44", r"^{\circ}", r"44\%", WRONG),
        ("44", r"^{\circ}", r"44\text{ rad}", WRONG),
        ("5", "furlong", r"5 \text{ furlong}", RIGHT),
        ("5", "furlong", r"5 \text{ km}", WRONG),
        (
            r"\angle B E A_{1}=90,\angle A E B_{1}=90",
            r"^{\circ}",
            r"\angle BEA_1=90^\circ \text{ and } \angle AEB_1=90^\circ",
            RIGHT,
        ),
        (r"\angle B E A_{1}=90,\angle A E B_{1}=90", r"^{\circ}", r"90^\circ", WRONG),
    ],
)
def test_units(gold: str, unit: str, answer: str, acc: float) -> None:
    assert score(answer, gold, unit=unit, error=None)["acc"] == acc


@pytest.mark.parametrize(
    ("answer", "acc"),
    [
        ("4.2", RIGHT),
        (r"4.2\%", RIGHT),
        ("4.1", RIGHT),
        ("4.3", RIGHT),
        (r"r = \frac{25}{6}\%", RIGHT),
        ("4.09", WRONG),
        ("4.31", WRONG),
        ("0.042", WRONG),
        ("x", WRONG),
        (r"\{4.2, 4.3\}", WRONG),
        (r"4.2\text{ km}", WRONG),
    ],
)
@pytest.mark.parametrize("error", ["1e-1", 0.1])
def test_tolerance(answer: str, acc: float, error: object) -> None:
    assert score(answer, "4.2", unit="%", error=error)["acc"] == acc


def test_without_tolerance_a_near_number_is_wrong() -> None:
    assert score("4.17", "4.2")["acc"] == WRONG


def test_score_is_format_plus_accuracy() -> None:
    layout = "<think>t</think>\n<answer>{}</answer>".format
    texts = [layout(r"\boxed{2,1}"), layout(r"\boxed{2}"), r"\boxed{2,1}", "2,1"]
    assert [compute_score("", text, "1,2")["score"] for text in texts] == [3.0, 1.0, 2.0, 0.0]
    found = compute_score("", "", "1,2")
    assert found == {"score": 0.0, "acc": 0.0, "format": 0.0, "verify_failed": 0.0, "outcome": "no_answer"}


def test_a_gold_that_is_no_text() -> None:
    assert [score("5", gold)["acc"] for gold in (5, 5.0)] == [RIGHT, RIGHT]
    with pytest.raises(TypeError, match=r"the gold must be text, not None \(NoneType\)"):
        score("5", None)


def test_the_first_failed_comparison_is_the_last(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr("cppo_verl.rewards.values.equivalent", lambda *pair, **_: asked.append(pair) or "timed_out")
    result = compute_score("", rf"\boxed{{{', '.join([TOWER] * 9)}}}", "1,2,3,4,5,6,7,8,9", timeout=0.5)
    assert result.pop("outcome") == "timed_out"
    assert result == {"score": 0.0, "acc": 0.0, "format": 0.0, "verify_failed": 1.0}
    assert len(asked) == 1


def test_gold_is_plain_latex_that_can_be_read() -> None:
    assert parse_gold("$221,$8$") == "221,8"
    assert parse_gold(r"$(-\infty, 0) \cup\{1\}$.") == r"(-\infty, 0) \cup\{1\}"
    for answer in ("", "$$", "$1,((($", "t(0,4]"):
        with pytest.raises(ValueError, match="cannot be read"):
            parse_gold(answer)


def test_votes_are_cleaned_boxes() -> None:
    assert extract_answer(r"$\boxed{ \left( 1, \dfrac{1}{2} \right) }$.") == r"(1,\frac{1}{2})"
    assert [extract_answer(text) for text in ("2", r"\boxed{}", r"\boxed{2", r"\boxed{$}")] == [None] * 4


def test_published_lists_in_another_order_are_right_and_shorter_ones_wrong(shared_data: Path) -> None:
    lines = (shared_data / "olympiadbench" / "test.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["is_multiple_answer"]]
    lists = [split(tidy(row["final_answer"][0]), ",") for row in rows]
    assert len(rows) == 93
    assert [items for items in lists if len(items) < 2] == [  # one point and one pair
        [r"(-\frac{1}{2}, \frac{7}{2})"],
        [r"(\frac{1}{4}, \frac{1}{27})"],
    ]

    def accuracies(row: dict, items: list[str]) -> tuple[float, float]:
        gold = parse_gold(row["final_answer"][0])
        answers = (r"\text{ and }".join(reversed(items)), ", ".join(items[1:]))
        return tuple(score(answer, gold, unit=row["unit"], error=row["error"])["acc"] for answer in answers)

    with ThreadPoolExecutor(2) as threads:
        results = dict(zip((row["id"] for row in rows), threads.map(accuracies, rows, lists), strict=True))
    assert {number: result for number, result in results.items() if result != (RIGHT, WRONG)} == {}


def test_split_leaves_brackets_alone() -> None:
    assert split(r"(1,2), [3,4), \{5,6\}, f{7,8}, ", ",") == ["(1,2)", "[3,4)", r"\{5,6\}", "f{7,8}"]
    assert [item.label for item in parse_listing("f(x)=1, a_{1}=2, 2x=3, 4").items] == ["f(x)", "a_1", "", ""]


pieces = st.lists(
    st.sampled_from(
        [*"12x+-=,;<>(){}[]$\\ ", r"\{", r"\}", r"\pm", r"\mp", r"\cup", r"\in", r"\text{and}", r"\frac", "km", "f(x)="]
    ),
    max_size=14,
).map("".join)


@settings(derandomize=True, max_examples=80)
@given(
    text=st.one_of(st.text(max_size=40), pieces),
    gold=st.sampled_from(["5", "1,2", "(1,2)", "(0,1]", "f(n)=n,g(n)=1", ""]),
    unit=st.sampled_from([None, "km", "%"]),
)
def test_any_text_gets_a_score(text: str, gold: str, unit: str | None) -> None:
    for completion in (text, rf"\boxed{{{text}}}"):
        result = compute_score("", completion, gold, {"unit": unit, "error": None})
        assert set(result) == {"score", "acc", "format", "verify_failed", "outcome"}
        assert extract_answer(completion) is None or result["format"] == 0.0


@pytest.mark.parametrize(
    "piece", [" ", "(", ")", r"\pm", r"\pm,", r"\{", "1,", "=", r"\in", "a", r"\text{", "1,000", ","]
)
def test_reading_takes_no_longer_than_the_text(piece: str) -> None:
    text = piece * (MAX_CHARS // len(piece))
    assert score(text, "1,2")["acc"] == WRONG
    assert readings(text)


@pytest.mark.parametrize(("opening", "closing"), [("(1,", ")"), (r"\{", r"\}"), ("(", ")"), (r"\cup(1,", ")")])
def test_deep_nesting_is_read(opening: str, closing: str) -> None:
    depth = MAX_CHARS // len(opening + closing) - 1
    assert score(opening * depth + "1" + closing * depth, "1,2")["acc"] == WRONG

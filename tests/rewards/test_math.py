import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cppo_verl.rewards import symbolic
from cppo_verl.rewards.latex import last_boxed
from cppo_verl.rewards.math import compute_score, extract_answer, parse_answer, parse_gold, parse_number
from cppo_verl.rewards.result import FAILURES
from cppo_verl.rewards.symbolic import MAX_CHARS, check_gold, equivalent

KEYS = {"score", "acc", "format", "verify_failed", "outcome"}
TOWER = "9^{9^{9^9}}"


@pytest.fixture(scope="module", autouse=True)
def stop_workers() -> Iterator[None]:
    yield
    symbolic.shutdown()
    assert not worker_pids()


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
        (r"(x+1)^2", "x^2+2x+1", "equal"),
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
        ("5", r"\frac{1}{0}", "different"),
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
        ("", "5", "bad_gold"),
        ("((((", "5", "bad_gold"),
    ],
)
def test_equivalent(gold: str, answer: str, outcome: str) -> None:
    assert equivalent(gold, answer) == outcome


def test_a_gold_that_is_no_text() -> None:
    assert [score(r"\boxed{\frac{10}{2}}", gold)["acc"] for gold in (5, 5.0)] == [1.0, 1.0]
    with pytest.raises(TypeError, match=r"the gold must be text, not None \(NoneType\)"):
        score(r"\boxed{5}", None)


def test_gold_and_answer_are_not_swapped() -> None:
    # A gold relation accepts the set it describes only on this side of math-verify.
    assert equivalent("1 < x < 2", "(1, 2)") == "equal"
    assert equivalent("(1, 2)", "1 < x < 2") == "different"


@pytest.mark.parametrize(
    "answer", [TOWER, "((10^8)!)!", r"\binom{10^9}{10^8}", "(" * 900 + "9" + ")" * 900, "2^{10^{10}}"]
)
def test_hostile_answers_end_and_are_counted(answer: str) -> None:
    result = score(rf"\boxed{{{answer}}}", "5", timeout=0.5)
    assert result.pop("outcome") in FAILURES
    assert result == {"score": 0.0, "acc": 0.0, "format": 0.0, "verify_failed": 1.0}
    assert score(r"\boxed{\frac{10}{2}}", "5")["acc"] == 1.0


def test_score_is_format_plus_accuracy() -> None:
    right, wrong = r"\boxed{\frac{4}{8}}", r"\boxed{3}"
    layout = "<think>t</think>\n<answer>{}</answer>".format
    scores = [score(text, "0.5")["score"] for text in (layout(right), layout(wrong), right, wrong)]
    assert scores == [3.0, 1.0, 2.0, 0.0]
    none = {"score": 0.0, "acc": 0.0, "format": 0.0, "verify_failed": 0.0, "outcome": "no_answer"}
    assert score("no box", "0.5") == none


def test_memory_is_limited_and_the_worker_lives_on() -> None:
    error = symbolic._running_pool().schedule(bytearray, args=(symbolic_memory() * 2,)).exception()
    assert isinstance(error, MemoryError)
    assert equivalent("5", "10/2") == "equal"


def test_a_dead_worker_is_replaced() -> None:
    assert symbolic._running_pool().schedule(os._exit, args=(3,)).exception() is not None
    assert equivalent("5", "10/2") == "equal"


def test_a_pool_whose_workers_were_killed_is_replaced() -> None:
    assert equivalent("5", "10/2") == "equal"
    for pid in worker_pids():
        os.kill(pid, signal.SIGKILL)
    outcomes = {equivalent("5", f"{n}/2") for n in range(10, 60, 10)}
    assert outcomes <= {"equal", "different", "crashed"}
    assert equivalent("5", "10/2") == "equal"


def test_many_threads_at_once() -> None:
    def job(n: int) -> tuple[str, str]:
        if n % 40 == 0:
            return equivalent("5", TOWER, timeout=0.5), "timed_out"
        gold = rf"\frac{{{n}}}{{7}}"
        if n % 2:
            return equivalent(gold, rf"\frac{{{3 * n}}}{{21}}"), "equal"
        return equivalent(gold, rf"\frac{{{n + 1}}}{{7}}"), "different"

    symbolic.shutdown()  # so that all threads race for the start of the pool
    with ThreadPoolExecutor(16) as threads:
        for got, expected in threads.map(job, range(160)):
            assert got == expected


CHILD = """
import multiprocessing, sys, threading, time
from cppo_verl.rewards.symbolic import equivalent
if __name__ == "__main__":
    assert equivalent("5", "10/2") == "equal"
    if sys.argv[1] == "busy":
        compare = lambda: equivalent("5", "9^{9^{9^9}}", timeout=1)
        threading.Thread(target=compare, daemon=True).start()
        time.sleep(0.5)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    if sys.argv[2] == "killed":
        time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("state", ["idle", "busy"])
@pytest.mark.parametrize("end", ["exits", "killed"])
def test_no_worker_outlives_its_parent(tmp_path: Path, state: str, end: str) -> None:
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, str(script), state, end], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        if end == "killed":
            parent.kill()
        assert parent.wait(timeout=60) == (-signal.SIGKILL if end == "killed" else 0)
    assert len(pids) == symbolic.WORKERS
    deadline = time.monotonic() + 60
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, "workers are left behind"
        time.sleep(0.05)


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
    assert check_gold("5:00") not in FAILURES  # readable, without a value: only the same text equals it
    for solution in ("5", r"\boxed{}", r"\boxed{5", r"\boxed{((((}", rf"\boxed{{{'5' * (MAX_CHARS + 1)}}}"):
        with pytest.raises(ValueError, match="box"):
            parse_gold(solution)


@pytest.mark.parametrize(
    ("published", "right", "wrong"),
    [
        # AMC: floats
        ("27.0", ["27", "27.0", r"27\text{ miles}", r"\frac{54}{2}", "x=27"], ["2.7", "-27", "270", "27, 28"]),
        ("-1.0", ["-1", "-1.0", r"\sin\frac{3\pi}{2}"], ["1", "1.0", r"\pm 1"]),
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
    near = {answer: equivalent("4.2", answer, tolerance=0.1) for answer in ("4.1", "4.3", r"\sqrt{17}", "4.31", "x")}
    assert near == {"4.1": "equal", "4.3": "equal", r"\sqrt{17}": "equal", "4.31": "different", "x": "different"}
    assert equivalent(r"\{1,2\}", r"\{1,3\}", tolerance=5) == "different"


def test_votes_are_cleaned_boxes() -> None:
    assert extract_answer(r"$\boxed{ \dfrac{1}{2} . }$") == r"\frac{1}{2}"
    assert extract_answer(r"\boxed{32,\!000}") == "32000"
    assert [extract_answer(text) for text in ("2", r"\boxed{}", r"\boxed{2", r"\boxed{$}")] == [None] * 4


def score(completion: str, gold: str, **options: float) -> dict[str, float]:
    return compute_score("HuggingFaceH4/MATH-500", completion, gold, **options)


def symbolic_memory() -> int:
    from cppo_verl.rewards.symbolic_worker import MEMORY_BYTES

    return MEMORY_BYTES


def worker_pids() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.name == "pebble_pool_worker"]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False

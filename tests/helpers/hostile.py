"""Completions made to hang, crash or fool a reward: a seeded grammar, so that any number can be drawn again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

GOLD = "271828"
"""No hostile answer is worth it."""


@dataclass(frozen=True)
class Hostile:
    """One completion, and the family it was drawn from."""

    family: str
    text: str


def draw(count: int, seed: int = 0) -> Iterator[Hostile]:
    """`count` completions, the families in turn, with as many different answers."""
    rng = random.Random(seed)
    families = list(FAMILIES.items())
    drawn: set[str] = set()
    for number in range(count):
        name, family = families[number % len(families)]
        answer = family(rng)
        while answer in drawn:
            answer = family(rng)
        drawn.add(answer)
        yield Hostile(
            name, answer if name in WHOLE else f"<think>\n{_noise(rng)}</think>\n<answer>\\boxed{{{answer}}}</answer>"
        )


def _towers(rng: random.Random) -> str:
    base = str(rng.randint(2, 99))
    return "^{".join([base] * rng.randint(3, 40)) + "}" * 39


def _factorials(rng: random.Random) -> str:
    return f"{rng.randint(10**3, 10**12)}" + "!" * rng.randint(1, 60)


def _brackets(rng: random.Random) -> str:
    left, right = rng.choice(["()", "[]", ("\\left(", "\\right)"), ("{", "}"), ("\\frac{1}{", "}"), ("\\sqrt{", "}")])
    depth = round(10 ** rng.uniform(1, 4))
    return left * depth + str(rng.randint(1, 999)) + right * rng.choice([depth, depth - 1, 0])


def _matrices(rng: random.Random) -> str:
    size = rng.randint(2, 60)
    row = "&".join(str(rng.randint(0, 9)) for _ in range(size))
    return "\\begin{pmatrix}" + "\\\\".join([row] * size) + "\\end{pmatrix}" + rng.choice(["", "^{-1}", "^{99}"])


def _sums(rng: random.Random) -> str:
    what, bound = rng.choice(["\\sum", "\\prod", "\\int"]), rng.choice(["\\infty", "10^{10}", "9^{9^{9}}", "n!"])
    term = rng.choice(["n^n", "1/n", "n!", "\\sin(n)", "2^{2^n}"])
    return f"{what}_{{n={rng.randint(1, 9_999)}}}^{{{bound}}} {term}"


def _long(rng: random.Random) -> str:
    size = round(10 ** rng.uniform(3, 6))
    return rng.choice(["9", "1+", "x^", "\\frac", ",", " ", "\\text{a}", "-", "."]) * (size // 2)


def _regexes(rng: random.Random) -> str:
    piece = rng.choice(["1,", "1 ", "a ", "\\%", "\\$", "^\\circ", "\\text{ cm}", "0.", "(-", "1\\cdot"])
    return piece * rng.randint(50, 2_000) + rng.choice(["!", "x", ",", "\\"])


def _bytes(rng: random.Random) -> str:
    odd = ["\x00", "\ud800", "\udfff", "\u202e", "\u200b", "\ufeff", "\u0661", "\uff15", "\x1b[2J", "\U0001d7d9", "\r"]
    return "".join(rng.choice([*odd, GOLD[:3], "1"]) for _ in range(rng.randint(1, 400)))


def _code(rng: random.Random) -> str:
    lines = rng.sample(
        [
            "__import__('os').system('exit 1')",
            "\\input{/etc/passwd}",
            "\\immediate\\write18{touch /tmp/x}",
            "exec('1/0')",
            "x.__class__.__bases__",
            "\\lambda: 0",
            "{{7*7}}",
            "%s%n%x",
            "\\def\\a{\\a\\a}\\a",
            "\\newcommand{\\b}{\\b}\\b",
        ],
        2,
    )
    return "".join(line * rng.randint(1, 30) for line in lines)


def _equations(rng: random.Random) -> str:
    names = rng.sample("abcdefghijklmnopqrstuvwxyz", rng.randint(2, 20))
    return "=".join(f"{name}^{{{rng.randint(2, 99)}}}" for name in names) + "+".join(names) * rng.randint(1, 40)


def _sets(rng: random.Random) -> str:
    parts = ",".join(str(rng.randint(0, 10**6)) for _ in range(rng.randint(2, 300)))
    return rng.choice(["\\{%s\\}", "(%s)", "[%s)", "\\{%s\\} \\cup \\mathbb{R}"]) % parts


def _grammar(rng: random.Random, depth: int = 6) -> str:
    if depth == 0:
        return rng.choice(["1", "x", "\\pi", "99999", "e", "i", "\\infty", "", "-"])
    inner = lambda: _grammar(rng, depth - rng.randint(1, 3) if depth > 3 else depth - 1)  # noqa: E731
    shape = rng.choice(
        [
            "{}^{{{}}}",
            "\\frac{{{}}}{{{}}}",
            "({}){}",
            "\\sqrt[{}]{{{}}}",
            "{}!{}",
            "\\log_{{{}}}({})",
            "{}_{{{}}}",
            "|{}|{}",
        ]
    )
    return shape.format(inner(), inner())


def _unbalanced(rng: random.Random) -> str:
    return "".join(
        rng.choice(["\\boxed{", "{", "}", "\\left(", "\\right)", "$", "\\[", "\\", "&", "#"]) for _ in range(200)
    )


def _tags(rng: random.Random) -> str:
    pieces = ["<think>", "</think>", "<answer>", "</answer>", "\n", "\\boxed{1}", "1", "<answer", "</think >", " "]
    return "".join(rng.choice(pieces) for _ in range(rng.randint(1, 3_000)))


def _noise(rng: random.Random) -> str:
    return rng.choice(["", "so ", "<", "\\boxed{", f"{GOLD} "]) * rng.randint(0, 3)


FAMILIES: dict[str, Callable[[random.Random], str]] = {
    "towers of powers": _towers,
    "factorials": _factorials,
    "deep brackets": _brackets,
    "matrices": _matrices,
    "unbounded sums": _sums,
    "long answers": _long,
    "regular expressions": _regexes,
    "odd characters": _bytes,
    "code": _code,
    "equations": _equations,
    "sets": _sets,
    "grammar": _grammar,
    "unbalanced": _unbalanced,
    "fake tags": _tags,
}
WHOLE = ("fake tags",)
"""Families that draw whole completions, not an answer."""

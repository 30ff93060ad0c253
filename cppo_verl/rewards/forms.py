r"""The form of a formula: what it is made of, whatever its order, brackets and bars.

`\frac{a}{b}`, `a/b`, `(a)/(b)` and `\frac{-a}{-b}` have one form, as have `x+2y`, `2y+x` and `1\cdot(x+y2)`; nothing is
worked out: `x+x` and `2x` have two. This reads text alone, so that it needs no worker and comes to an end on any.
"""

from __future__ import annotations

import re

from cppo_verl.rewards.plain import squeezed

Form = tuple
"""`("a", text)`; `("+", terms)`; `("*", sign, factors, divisors)`; `(name, argument, …)`."""

_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[0-9]+(?:\.[0-9]*)?|\.[0-9]+|\S", re.DOTALL)
_CLOSE = {"(": ")", "[": "]", "{": "}", "|": "|", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil"}
_ARGUMENTS = {r"\frac": 2, r"\binom": 2, r"\sqrt": 1}
_FUNCTIONS = {
    *(r"\sin", r"\cos", r"\tan", r"\cot", r"\sec", r"\csc", r"\arcsin", r"\arccos", r"\arctan", r"\log", r"\ln"),
    *(r"\lg", r"\exp", r"\gcd", r"\lcm", r"\sum", r"\prod", r"\int"),
}
_NO_FACTOR = {r"\pm", r"\mp", r"\le", r"\ge", r"\ne", r"\in", r"\cup", r"\cap", r"\{", r"\}", r"\approx", *",;=<>&"}
_MAX_DEPTH = 50
_ONE, _ZERO = ("a", "1"), ("a", "0")


class _NoFormulaError(Exception):
    """A text that is no formula of sums, products and functions."""


def form_of(text: str) -> Form | str:
    """The form of a formula in one spelling (`plain`); the text without spaces of what is no such formula."""
    reader = _Reader(_TOKEN.findall(text))
    try:
        form = reader.sum()
    except _NoFormulaError:
        return squeezed(text)
    return form if reader.next is None else squeezed(text)


class _Reader:
    """Reads tokens from the left."""

    def __init__(self, tokens: list[str]):
        self.tokens, self.at, self.depth = tokens, 0, 0

    @property
    def next(self) -> str | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self) -> str:
        if self.next is None:
            raise _NoFormulaError
        self.at += 1
        return self.tokens[self.at - 1]

    def sum(self) -> Form:
        terms = [self.product()]
        while self.next in ("+", "-"):
            terms.append(self.product())
        return _sum(terms)

    def product(self) -> Form:
        sign, factors, divisors = self.sign(), [], []
        into = factors
        while True:
            into.append(self.factor())
            into = factors
            if self.next in (r"\cdot", "/"):
                into = divisors if self.take() == "/" else factors
                sign *= self.sign()
            elif self.next is None or self.next in ("+", "-", *_CLOSE.values(), *_NO_FACTOR):
                return _product(sign, factors, divisors)

    def sign(self) -> int:
        sign = 1
        while self.next in ("+", "-"):
            sign *= -1 if self.take() == "-" else 1
        return sign

    def factor(self) -> Form:
        found = self.atom()
        while self.next in ("^", "_", "!", "'"):
            mark = self.take()
            given = (self.atom(),) if mark in "^_" else ()
            found = found if (mark, given) == ("^", (_ONE,)) else (mark, found, *given)
        return found

    def atom(self) -> Form:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise _NoFormulaError
        found = self.group(self.take())
        self.depth -= 1
        return found

    def group(self, token: str) -> Form:
        if token in _CLOSE:
            return self.inside(_CLOSE[token], token)
        if token in _ARGUMENTS:
            return self.command(token)
        if token in _FUNCTIONS:
            marks = []
            while self.next in ("^", "_"):
                marks += [self.take(), self.atom()]
            return (token, *marks, self.factor())
        if token in _NO_FACTOR or token in _CLOSE.values() or token in "+-/^_":
            raise _NoFormulaError
        return "a", token

    def inside(self, close: str, opened: str) -> Form:
        found = self.sum()
        if self.take() != close:
            raise _NoFormulaError
        return found if opened in "([{" else (opened, found)

    def command(self, name: str) -> Form:
        index = (self.atom(),) if name == r"\sqrt" and self.next == "[" else ()
        arguments = [self.atom() for _ in range(_ARGUMENTS[name])]
        return _product(1, arguments[:1], arguments[1:]) if name == r"\frac" else (name, *index, *arguments)


def _sum(terms: list[Form]) -> Form:
    parts = [part for term in terms for part in (term[1] if term[0] == "+" else (term,)) if part != _ZERO]
    return parts[0] if len(parts) == 1 else ("+", tuple(sorted(parts, key=repr))) if parts else _ZERO


def _product(sign: int, factors: list[Form], divisors: list[Form]) -> Form:
    above, below = [], []
    for given, same, other in ((factors, above, below), (divisors, below, above)):
        for factor in given:
            if factor[0] == "*":
                sign *= factor[1]
                same += factor[2]
                other += factor[3]
            elif factor != _ONE:
                same.append(factor)
    if not below and len(above) <= 1:
        only = above[0] if above else _ONE
        if sign > 0:
            return only
        if only[0] == "+":
            return "+", tuple(sorted((_product(-1, [term], []) for term in only[1]), key=repr))
    return "*", sign, tuple(sorted(above, key=repr)), tuple(sorted(below, key=repr))

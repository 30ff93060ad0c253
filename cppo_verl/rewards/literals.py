r"""Rational numbers, worked out: `72`, `-0.5`, `\frac{1}{2}`, `1\frac{1}{4}`, `0.\overline{3}`, `6.7 \cdot 10^{-5}`.

Everything is exact. What is left to work out (`71+1`, `8 \cdot 9`, `2^3`) is no literal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

SIGNIFICANT = 10
"""Digits from which on a decimal may stand for a number that has no finite one: 0.3333333333 for 1/3."""
ROUNDED = 2
"""Digits from which on a gold that is a decimal may be the rounding of an exact answer: 0.67 of 2/3."""
_MAX_DIGITS = 400

_DECIMAL = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_SIDE = r"([0-9.]+|\( ?[-+]? ?[0-9.]+ ?\)|\{ ?[-+]? ?[0-9.]+ ?\})"
_OVER = re.compile(rf"\\frac\{{([^{{}}]*)\}}\{{([^{{}}]*)\}}|{_SIDE}/{_SIDE}")
_MIXED = re.compile(r"([0-9]+) ?(?:\\frac\{([0-9]+)\}\{([0-9]+)\}|(?<= )([0-9]+)/([0-9]+))")
_REPEATING = re.compile(r"([0-9]*)\.([0-9]*)\\(?:overline|bar|dot)\{?([0-9]+)\}?")
_SCIENTIFIC = re.compile(r"([0-9](?:\.[0-9]+)?) ?\\cdot ?10\^(?:\{ ?(-?[0-9]{1,2}) ?\}|([0-9]))")


@dataclass(frozen=True)
class Literal:
    """A rational number as it is written."""

    value: Fraction
    places: int | None = None
    """Digits after the point of a decimal; None of what is no decimal."""
    digits: int = 0
    """Significant digits of a decimal."""

    @property
    def terminates(self) -> bool:
        """Whether a finite decimal can be the same number."""
        rest = self.value.denominator
        for prime in (2, 5):
            while rest % prime == 0:
                rest //= prime
        return rest == 1

    def rounds(self, value: Fraction) -> bool:
        """Whether this decimal is the value, rounded at the decimal's last digit."""
        return self.places is not None and abs(value - self.value) * 2 * 10**self.places <= 1


def read_literal(text: str) -> Literal | None:
    """The number that a text in one spelling (`plain`) is; None if it is anything else."""
    text = _without_brackets(text.strip())
    sign, text = _sign(text)
    text = _without_brackets(text)
    if len(text) > _MAX_DIGITS * 2:
        return None
    if _DECIMAL.fullmatch(text):
        whole, _, places = text.partition(".")
        digits = (whole + places).lstrip("0")
        return Literal(sign * Fraction(text), len(places) if "." in text else None, len(digits))
    if found := _MIXED.fullmatch(text):
        top, bottom = int(found[2] or found[4]), int(found[3] or found[5])
        return Literal(sign * (int(found[1]) + Fraction(top, bottom))) if top < bottom else None
    if found := _REPEATING.fullmatch(text):
        whole, fixed, period = found.groups()
        scale = 10 ** len(fixed)
        value = Fraction(int(whole + fixed or 0), scale) + Fraction(int(period), scale * (10 ** len(period) - 1))
        return Literal(sign * value)
    if found := _SCIENTIFIC.fullmatch(text):
        mantissa, power = Fraction(found[1]), int(found[2] or found[3])
        return Literal(sign * mantissa * Fraction(10) ** power)
    return _quotient(sign, text)


def same(gold: Literal, answer: Literal) -> bool:
    """Whether two numbers are equal: exactly, or as far as a decimal can be equal to a number that has none.

    A gold such as 7.78 may be the rounding of the exact answer 70/9; an answer such as 0.3333333333 may stand for 1/3
    if it is long enough. Two decimals are equal or not.
    """
    if gold.value == answer.value:
        return True
    if not answer.terminates:
        return gold.digits >= ROUNDED and gold.rounds(answer.value)
    return not gold.terminates and answer.digits >= SIGNIFICANT and answer.rounds(gold.value)


def _quotient(sign: int, text: str) -> Literal | None:
    if not (found := _OVER.fullmatch(text)):
        return None
    parts = [_sign(_without_brackets(part.strip())) for part in found.groups() if part is not None]
    if not all(_DECIMAL.fullmatch(digits) for _, digits in parts) or not Fraction(parts[1][1]):
        return None
    (first, top), (second, bottom) = parts
    return Literal(sign * first * second * Fraction(top) / Fraction(bottom))


def _sign(text: str) -> tuple[int, str]:
    if text[:1] in ("-", "+"):
        return (-1 if text[0] == "-" else 1), text[1:].lstrip()
    return 1, text


def _without_brackets(text: str) -> str:
    """Without brackets or braces around all of it, which hold no others."""
    while (
        len(text) > 2
        and text[0] + text[-1] in ("()", "{}")
        and not re.search(r"[(){}]", text[1:-1].replace(r"\frac", ""))
    ):
        text = text[1:-1].strip()
    if (
        len(text) > 2
        and text[0] + text[-1] == "()"
        and re.fullmatch(r"-?\\frac\{[^{}()]*\}\{[^{}()]*\}", text[1:-1].strip())
    ):
        return text[1:-1].strip()
    return text

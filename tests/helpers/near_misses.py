"""Wrong answers that look like a gold. Each rule names a kind and says when it applies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction

from gold_kinds import (
    ASSIGNED,
    BASE,
    CHOICE,
    DECIMAL,
    DEGREES,
    FRACTION,
    INTEGER,
    INTERVAL,
    LIST,
    PERCENT,
    PI,
    POLYNOMIAL,
    ROOT,
    TUPLE,
    UNIT,
    WORD,
    Variant,
    decimal,
)


def near_misses(gold: str) -> Iterator[Variant]:
    """Answers that look like the gold: each is wrong."""
    yield Variant("a second answer", f"{gold}, 987654")
    yield Variant("either, or", rf"{gold} \text{{ or }} 987654")
    for find in _WRONG:
        yield from find(gold)


def _wrong_numbers(gold: str) -> Iterator[Variant]:
    if not INTEGER.fullmatch(gold):
        return
    n = int(gold)
    for kind, text in {
        "one more": f"{n + 1}",
        "one less": f"{n - 1}",
        "other sign": f"{-n}" if n else "1",
        "ten times": f"{n * 10}" if n else "10",
        "inverse": rf"\frac{{1}}{{{n}}}" if n not in (0, 1, -1) else "2",
        "a little more": f"{n}.0000001",
        "root": rf"\sqrt{{{n}}}" if n not in (0, 1) else "3",
        "square": f"{n}^2" if n not in (0, 1) else "3",
        "factorial": f"{n}!" if n not in (1, 2) else "7",
        "sum": f"{n - 3} + 3",
        "difference": f"{n + 5} - 5",
        "product": rf"{n} \cdot 1",
        "power": rf"{n}^1",
        "sum of powers": rf"2^2 + {n - 4}",
        "binomial": rf"\binom{{{n}}}{{1}}" if n > 0 else "3+8",
        "quotient of a sum": rf"\frac{{{n - 1} + {n + 1}}}{{2}}",
        "quotient of a product": rf"\frac{{2 \cdot {n}}}{{2}}",
        "equation": f"2x + {n} = 7",
        "right side of an equation": f"x^2 + 3x = {n}",
        "right side of a square": f"x^2 = {n}",
        "right side of a difference": f"b - a = {n}",
        "right side of an absolute value": f"|x| = {n}",
        "right side of a product": f"2x = {n}",
        "left side of an equation": f"{n} = x^2",
        "hundreds": rf"{n} \text{{ hundreds}}" if n else "1",
        "digits apart": rf"{str(n)[:-1]} \quad {str(n)[-1]}" if abs(n) > 9 else "3 4",
        "false equation": f"{n + 1} = {n}",
        "false sum": f"{n} + 1 = {n}",
        "two units": rf"{n} \text{{ hours }} 30 \text{{ minutes}}",
        "two quantities": rf"{n} \text{{ red}}, {n - 1} \text{{ blue}}",
        "a letter": f"{n}s" if n else "s",
        "a letter to add": f"{n} + 10t",
        "a letter to multiply": f"{n}x" if n else "x",
        "two numbers": rf"{n} \quad {n}",
        "two numbers that add": rf"{n - 4} \quad 4",
        "approximation that adds": rf"{n - 4} \approx 4",
        "approximates the gold": rf"{n}.4 \approx {n}",
        "interval": f"[{n}, {n + 1})",
        "point": f"({n}, {n + 1})",
        "inequality": f"x > {n}",
        "plus or minus": rf"\pm {n}" if n else r"\pm 1",
        "million": rf"{n} \text{{ million}}" if n else "1",
        "base": f"{n}_7" if n > 6 else "8_9",
        "in words": rf"\text{{not }} {n}",
        "degrees in radians": rf"{n} \text{{ or }} {n + 1}",
    }.items():
        yield Variant(kind, text)


def _wrong_fractions(gold: str) -> Iterator[Variant]:
    if found := FRACTION.fullmatch(gold):
        sign, top, bottom = found[1], found[2] or found[4], found[3] or found[5]
        minus = "" if sign else "-"
        for kind, text in {
            "other sign of a fraction": rf"{minus}\frac{{{top}}}{{{bottom}}}",
            "other sign in brackets": f"({minus}{top})/{bottom}",
            "upside down": rf"{sign}\frac{{{bottom}}}{{{top}}}" if top != bottom else "17",
            "numerator one more": rf"{sign}\frac{{{int(top) + 1}}}{{{bottom}}}",
            "denominator one more": rf"{sign}\frac{{{top}}}{{{int(bottom) + 1}}}" if top != "0" else "17",
            "rounded": f"{sign}{int(top) / int(bottom) + 0.013:.2f}",
            "sum of fractions": rf"{sign}\frac{{{top}}}{{{bottom}}} + 0",
            "one minus": rf"1 - \frac{{{int(bottom) - int(top)}}}{{{bottom}}}" if not sign else "17",
            "decimal one digit off": f"{sign}{int(top) / int(bottom) + 0.000001:.6f}",
        }.items():
            yield Variant(kind, text)
    if DECIMAL.fullmatch(gold):
        places = len(gold.partition(".")[2])
        value, unit = Fraction(gold), Fraction(1, 10**places)
        yield Variant("last digit one more", decimal(value + unit, places))
        yield Variant("last digit one less", decimal(value - unit, places))
        yield Variant("one more digit", f"{gold}4")
        yield Variant("point moved", decimal(value * 10, places))


def _wrong_groups(gold: str) -> Iterator[Variant]:
    if found := TUPLE.fullmatch(gold):
        items = [item.strip() for item in f"{found[2]},{found[3]}".split(",")]
        if items != items[::-1]:
            yield Variant("swapped", f"({', '.join(reversed(items))})")
        yield Variant("roots for a point", ", ".join(items))
        yield Variant("set for a point", rf"\{{{', '.join(items)}\}}")
        yield Variant("closed", f"[{', '.join(items)}]")
        yield Variant("shorter", f"({', '.join(items[:-1])})" if len(items) > 2 else items[0])
        yield Variant("longer", f"({', '.join([*items, '7'])})")
    if found := INTERVAL.fullmatch(gold):
        left, low, high, right = found.groups()
        yield Variant("left bracket", f"{'(' if left == '[' else '['}{low},{high}{right}")
        yield Variant("right bracket", f"{left}{low},{high}{')' if right == ']' else ']'}")
        yield Variant("ends alone", f"{low}, {high}")
        yield Variant("another end", f"{left}{low},{high}+1{right}" if "infty" not in high else f"({low}+1,{high})")
    if LIST.fullmatch(gold) and not re.fullmatch(r"-?\d{1,3}(,\d{3})+", gold):
        items = re.split(r", ?", gold)
        yield Variant("point for roots", f"({', '.join(items)})")
        yield Variant("interval for roots", f"[{', '.join(items)}]")
        yield Variant("one of them", items[0])
        yield Variant("one twice", ", ".join([items[0], *items[:-1]])) if items[0] != items[-1] else Variant("-", "")


def _wrong_units(gold: str) -> Iterator[Variant]:
    if found := UNIT.fullmatch(gold):
        number, unit = found.groups()
        yield Variant("another number", rf"{number}7 \text{{ {unit}}}")
        yield Variant("two units after one", rf"{number} \text{{ {unit} }} 7 \text{{ {unit}}}")
    if found := BASE.fullmatch(gold):
        yield Variant("another base", f"{found[1]}_{{{int(found[2]) + 1}}}")
        yield Variant("another numeral", f"{found[1]}1_{found[2]}")
        yield Variant("in base ten", f"{int(found[1], int(found[2]))}_{{10}}7")
    if found := DEGREES.fullmatch(gold):
        yield Variant("another angle", rf"1{found[1].lstrip('-')}^\circ")
        yield Variant("radians", rf"{found[1]} \text{{ radians}}")
    if found := PERCENT.fullmatch(gold):
        yield Variant("hundredth of the per cent", decimal(Fraction(found[1]) / 1000, 6))


def _wrong_expressions(gold: str) -> Iterator[Variant]:
    if POLYNOMIAL.fullmatch(gold):
        yield Variant("polynomial plus one", f"{gold} + 1")
        yield Variant("other sign of a polynomial", f"-({gold})")
        letter = re.search("[a-z]", gold)[0]
        yield Variant("capital letter", gold.replace(letter, letter.upper()))
        yield Variant("another letter", gold.replace(letter, "w" if letter != "w" else "v"))
        yield Variant("equals zero", f"{gold} = 0")
    if found := ROOT.fullmatch(gold):
        yield Variant("another radicand", rf"{found[1]}\sqrt{{{int(found[2]) + 1}}}")
        yield Variant("without the root", f"{found[1] or 1}")
        yield Variant("rounded root", f"{int(found[1] or 1) * int(found[2]) ** 0.5:.2f}")
        yield Variant("root and nothing", rf"\frac{{{2 * int(found[1] or 1)}\sqrt{{{found[2]}}}}}{{2}} + 0")
        yield Variant("root of a product", rf"\sqrt{{{int(found[1]) ** 2 * int(found[2])}}}" if found[1] else "17")
    if found := PI.fullmatch(gold):
        yield Variant("without pi", found[1])
        yield Variant("millions of pi", rf"{found[1]}\pi\text{{ million}}")
        yield Variant("another multiple of pi with a unit", rf"{int(found[1]) + 1}\pi\text{{ cm}}")
        yield Variant("root of a square of pi", rf"\sqrt{{{int(found[1]) ** 2}\pi^2}}")
        yield Variant("rounded pi", f"{int(found[1]) * 3.14159265:.2f}")
        yield Variant("sum of multiples of pi", rf"{int(found[1]) - 1}\pi + \pi")
    if found := WORD.fullmatch(gold):
        yield Variant("another word", rf"\text{{not {found[1]}}}")
        yield Variant("longer word", rf"\text{{{found[1]}x}}")
    if found := CHOICE.fullmatch(gold):
        yield Variant(
            "another choice", rf"\text{{({'ABCDE'['BCDEA'.index(found[1])] if found[1] in 'ABCDE' else 'A'})}}"
        )
    if found := ASSIGNED.fullmatch(gold):
        yield Variant("another name", f"{'q' if found[1] != 'q' else 'r'} = {found[2]}")


_WRONG: tuple[Callable[[str], Iterator[Variant]], ...] = (
    _wrong_numbers,
    _wrong_fractions,
    _wrong_groups,
    _wrong_units,
    _wrong_expressions,
)

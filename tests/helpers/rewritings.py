r"""Answers made of a gold: the same in other spelling, wrong ones that look like it, and formulas of its question.

Each rule names a kind and says when it applies. It knows nothing of the rewards: golds are told apart by patterns of
their own, and a gold that none of them knows is only decorated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

INTEGER = re.compile(r"-?\d+")
GROUPED = re.compile(r"-?\d{1,3}(?:,\\!\d{3})+|-?\d{4,}")
FRACTION = re.compile(r"(-?)\\[dt]?frac(?:\{(\d+)\}\{(\d+)\}|(\d)(\d))")
DECIMAL = re.compile(r"-?\d*\.\d+")
TUPLE = re.compile(r"(\\left)?\(([^()]*),([^(),]*?)(\\right)?\)")
INTERVAL = re.compile(r"([(\[])([^()\[\]]*),([^()\[\]]*)([)\]])")
LIST = re.compile(r"-?\d+(?:, ?-?\d+)+")
DEGREES = re.compile(r"(-?[\d.]+)\^\{?\\circ\}?")
PERCENT = re.compile(r"([\d.]+) ?\\%")
MONEY = re.compile(r"\\\$ ?([\d.]+)")
UNIT = re.compile(r"(-?[\d.]+) ?\\(?:text|mbox)\{ ?([a-z]{3,})\}")
BASE = re.compile(r"(\d+)_\{?(\d+)\}?")
POLYNOMIAL = re.compile(r"-?\d*[a-z](?:\^\d)?(?: ?[+-] ?\d*[a-z]?(?:\^\d)?)+")
ROOT = re.compile(r"(\d*) ?\\sqrt\{(\d+)\}")
PI = re.compile(r"(\d+) ?\\pi")
WORD = re.compile(r"\\text\{([A-Za-z]+)\}")
CHOICE = re.compile(r"\\text\{\(([A-Z])\)\}")
ASSIGNED = re.compile(r"([a-z]) ?= ?(.+)")


class Variant(NamedTuple):
    """One answer made of a gold."""

    kind: str
    answer: str


def rewritings(gold: str) -> Iterator[Variant]:
    """The gold in other spelling: each is right."""
    yield Variant("as it is", gold)
    yield Variant("dollars", f"${gold}$")
    yield Variant("spaces", f" {gold} ")
    yield Variant("final dot", f"{gold}.")
    yield Variant("display style", rf"\displaystyle {gold}")
    yield Variant("coloured", rf"\textcolor{{red}}{{{gold}}}")
    if "matrix" not in gold and "text" not in gold and "mbox" not in gold:
        yield Variant("bold", rf"\mathbf{{{gold}}}")
    for find in _RIGHT:
        yield from find(gold)


def near_misses(gold: str) -> Iterator[Variant]:
    """Answers that look like the gold: each is wrong."""
    yield Variant("a second answer", f"{gold}, 987654")
    yield Variant("either, or", rf"{gold} \text{{ or }} 987654")
    for find in _WRONG:
        yield from find(gold)


def formulas(question: str) -> list[str]:
    """What stands between dollars or in display style, without what is a plain number or gives a name one."""
    found = re.findall(r"\$([^$]+)\$|\\\[(.+?)\\\]", question.replace(r"\$", ""), re.DOTALL)
    texts = dict.fromkeys((inline or display).strip(" .,;\n") for inline, display in found)
    number = r"[-\d.,\\!{} ]*(?:/ ?\d+)?"
    return [text for text in texts if not re.fullmatch(rf"(?:[^+<>^]*=)?{number}", text)]


def _right_numbers(gold: str) -> Iterator[Variant]:
    if INTEGER.fullmatch(gold):
        yield Variant("name = value", f"x = {gold}")
        yield Variant("named function", f"f(2)={gold}")
        yield Variant("decimal of an integer", f"{gold}.0")
        yield Variant("markdown", f"**{gold}**")
        yield Variant("bold text", rf"\textbf{{{gold}}}")
        yield Variant("text", rf"\text{{{gold}}}")
        yield Variant("braces", f"{{{gold}}}")
        yield Variant("worked out", f"x = {int(gold) + 2} - 2 = {gold}")
        yield Variant("over one", rf"\frac{{{gold}}}{{1}}")
    if GROUPED.fullmatch(gold):
        number = int(gold.replace(r",\!", ""))
        if abs(number) >= 1000:
            for separator in (",", r"{,}", r",\!", r",\! ", r"\,", r"\ ", " ", "~", "{,}\\!"):
                yield Variant(f"thousands {separator}", f"{number:,}".replace(",", separator))
        yield Variant("plain digits", str(number))


def _right_fractions(gold: str) -> Iterator[Variant]:
    if found := FRACTION.fullmatch(gold):
        sign, top, bottom = found[1], found[2] or found[4], found[3] or found[5]
        for name, text in {
            "dfrac": rf"{sign}\dfrac{{{top}}}{{{bottom}}}",
            "tfrac": rf"{sign}\tfrac{{{top}}}{{{bottom}}}",
            "cfrac": rf"{sign}\cfrac{{{top}}}{{{bottom}}}",
            "slash": f"{sign}{top}/{bottom}",
            "sign in the numerator": rf"\frac{{{sign}{top}}}{{{bottom}}}",
            "brackets": rf"\left({sign}\frac{{{top}}}{{{bottom}}}\right)",
            "big brackets": rf"\bigl({sign}\frac{{{top}}}{{{bottom}}}\bigr)",
            "approximated": rf"{sign}\frac{{{top}}}{{{bottom}}} \approx {sign}{int(top) / int(bottom):.3f}",
            "approximated, unicode": rf"{sign}\frac{{{top}}}{{{bottom}}} ≈ {sign}{int(top) / int(bottom):.3f}",
        }.items():
            yield Variant(name, text)
        value = Fraction(int(top), int(bottom))
        if (10**6 % value.denominator) == 0:
            yield Variant("terminating decimal", f"{sign}{float(value)!r}")
        whole, rest = divmod(value.numerator, value.denominator)
        if whole and rest:
            yield Variant("mixed number", rf"{sign}{whole}\frac{{{rest}}}{{{value.denominator}}}")
            yield Variant("mixed number, slash", f"{sign}{whole} {rest}/{value.denominator}")
        if value.denominator in (3, 9) and value < 1:
            digit = value * 9
            yield Variant("repeating decimal", rf"{sign}0.\overline{{{digit}}}")
    if DECIMAL.fullmatch(gold):
        yield Variant("decimal as a fraction", "{0.numerator}/{0.denominator}".format(Fraction(gold)))
        yield Variant("more zeros", f"{gold}0")
        yield Variant("leading zero", gold.replace("-.", "-0.") if gold[0] == "-" else f"0{gold.lstrip('0')}")


def _right_groups(gold: str) -> Iterator[Variant]:
    if found := TUPLE.fullmatch(gold):
        inside = f"{found[2]},{found[3]}"
        yield Variant("sized brackets", rf"\left( {inside} \right)")
        yield Variant("tight", f"({inside})".replace(" ", ""))
        yield Variant("big brackets of a tuple", rf"\bigl( {inside} \bigr)")
        if "infty" not in gold:
            yield Variant("a named point", rf"(x,y) = ({inside})" if inside.count(",") == 1 else f"P = ({inside})")
    if found := INTERVAL.fullmatch(gold):
        left, low, high, right = found.groups()
        if "infty" in high and "infty" not in low:
            yield Variant("inequality", rf"x {'>' if left == '(' else chr(92) + 'ge '} {low}")
        elif "infty" in low and "infty" not in high:
            yield Variant("inequality", rf"x {'<' if right == ')' else chr(92) + 'le '} {high}")
        elif left + right != "()":
            less = {"(": "<", "[": r"\le"}[left], {")": "<", "]": r"\le"}[right]
            yield Variant("inequality", f"{low} {less[0]} x {less[1]} {high}")
        if left + right != "()" or "infty" in gold:
            yield Variant("element of", rf"x \in {gold}")
    if LIST.fullmatch(gold) and not re.fullmatch(r"-?\d{1,3}(,\d{3})+", gold):
        items = re.split(r", ?", gold)
        yield Variant("another order", ", ".join(reversed(items)))
        yield Variant("and", ", ".join(items[:-1]) + rf" \text{{ and }} {items[-1]}")
        yield Variant("or", r" \text{ or } ".join(items))
        yield Variant("set braces", rf"\{{{', '.join(items)}\}}")
        yield Variant("named list", f"x = {', '.join(items)}")


def _right_units(gold: str) -> Iterator[Variant]:
    if found := DEGREES.fullmatch(gold):
        for text in ("{}", "{}°", r"{}^\circ", r"{}^{{\circ}}", r"{}\text{{ degrees}}", "{} degrees"):
            yield Variant("degrees", text.format(found[1]))
    if found := PERCENT.fullmatch(gold):
        for text in ("{}", r"{}\%", r"{} \%", "{}%", r"{}\text{{ percent}}", "{} percent"):
            yield Variant("per cent", text.format(found[1]))
    if found := MONEY.fullmatch(gold):
        for text in ("{}", r"\${}", r"\$ {}", "{} dollars", r"{}\text{{ dollars}}"):
            yield Variant("money", text.format(found[1]))
    if found := UNIT.fullmatch(gold):
        number, unit = found.groups()
        for text in (number, rf"{number} \text{{ {unit}}}", f"{number} {unit}", rf"{number}\,\mathrm{{{unit}}}"):
            yield Variant("unit", text)
    if found := BASE.fullmatch(gold):
        yield Variant("base in braces", f"{found[1]}_{{{found[2]}}}")
        yield Variant("base without braces", f"{found[1]}_{found[2][:1]}") if len(found[2]) == 1 else Variant("-", gold)


def _right_expressions(gold: str) -> Iterator[Variant]:
    if POLYNOMIAL.fullmatch(gold):
        terms = re.findall(r"[+-]?[^+-]+", gold.replace(" ", ""))
        signed = [term if term[0] in "+-" else f"+{term}" for term in terms]
        yield Variant("terms in another order", "".join(reversed(signed)).lstrip("+"))
        yield Variant("spaces at signs", re.sub(r"(?<=\w) ?([+-]) ?", r" \1 ", gold))
        yield Variant("a named polynomial", f"p(x) = {gold}")
    if found := ROOT.fullmatch(gold):
        factor, radicand = found[1], int(found[2])
        value = int(factor or 1) * radicand**0.5
        yield Variant("root without braces", rf"{factor}\sqrt {radicand}") if radicand < 10 else Variant("-", gold)
        yield Variant("root sign", rf"{factor}√{radicand}")
        yield Variant("root, approximated", rf"{gold} \approx {value:.2f}")
        yield Variant("root after a dot", rf"{factor} \cdot \sqrt{{{radicand}}}" if factor else gold)
    if found := PI.fullmatch(gold):
        yield Variant("pi before", rf"\pi \cdot {found[1]}")
        yield Variant("pi sign", f"{found[1]}π")
        yield Variant("pi, approximated", rf"{gold} \approx {int(found[1]) * 3.14159265:.2f}")
    if found := WORD.fullmatch(gold):
        yield Variant("word", found[1])
        yield Variant("bold word", rf"\textbf{{{found[1]}}}")
        if len(found[1]) > 2:
            yield Variant("small word", rf"\text{{{found[1].lower()}}}")
    if found := CHOICE.fullmatch(gold):
        for text in ("{}", "({})", r"\text{{{}}}", r"\textbf{{({})}}", r"\mathrm{{({})}}"):
            yield Variant("choice", text.format(found[1]))
    if found := ASSIGNED.fullmatch(gold):
        yield Variant("without the name", found[2])


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
        yield Variant("last digit one more", _decimal(value + unit, places))
        yield Variant("last digit one less", _decimal(value - unit, places))
        yield Variant("one more digit", f"{gold}4")
        yield Variant("point moved", _decimal(value * 10, places))


def _decimal(value: Fraction, places: int) -> str:
    digits = f"{abs(value.numerator * 10**places // value.denominator):0{places + 1}d}"
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


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
        yield Variant("hundredth of the per cent", _decimal(Fraction(found[1]) / 1000, 6))


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
        yield Variant("root of a product", rf"\sqrt{{{int(found[1]) ** 2 * int(found[2])}}}" if found[1] else "17")
    if found := PI.fullmatch(gold):
        yield Variant("without pi", found[1])
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


_Find = Callable[[str], Iterator[Variant]]
_RIGHT: tuple[_Find, ...] = (_right_numbers, _right_fractions, _right_groups, _right_units, _right_expressions)
_WRONG: tuple[_Find, ...] = (_wrong_numbers, _wrong_fractions, _wrong_groups, _wrong_units, _wrong_expressions)

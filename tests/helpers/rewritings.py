"""A gold in other spelling, and formulas of its question. Each rule names a kind and says when it applies."""

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
    GROUPED,
    INTEGER,
    INTERVAL,
    LIST,
    MONEY,
    PERCENT,
    PI,
    POLYNOMIAL,
    ROOT,
    TUPLE,
    UNIT,
    WORD,
    Variant,
)


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


def formulas(question: str) -> list[str]:
    """What stands between dollars or in display style, without what is a plain number or gives a name one."""
    found = re.findall(r"\$([^$]+)\$|\\\[(.+?)\\\]", question.replace(r"\$", ""), re.DOTALL)
    texts = dict.fromkeys((inline or display).strip(" .,;\n") for inline, display in found)
    number = r"[-\d.,\\!{} ]*(?:/ ?\d+)?"
    return [text for text in texts if not re.fullmatch(rf"(?:[^+<>^]*=)?{number}", text)]


def respelled(formula: str) -> Iterator[str]:
    """A formula of a question as whoever copies it may disguise it."""
    yield formula
    yield f"({formula})"
    yield rf"\frac{{{formula}}}{{1}}"
    if "=" not in formula:
        yield f"{formula} = y"
    if (slashed := re.sub(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}", r"(\1)/(\2)", formula)) != formula:
        yield slashed


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
        yield Variant("name last", f"{gold} = n")
        yield Variant("value first", f"{gold} = {int(gold) + 2} - 2")
        yield Variant("switched font", rf"{{\bf {gold}}}")
        yield Variant("size", rf"\large {gold}")
        yield Variant("box of a colour", rf"\colorbox{{yellow}}{{{gold}}}")
        yield Variant("code", f"`{gold}`")
        yield Variant("function of a function", f"f(g(2)) = {gold}")
    if GROUPED.fullmatch(gold):
        number = int(gold.replace(r",\!", ""))
        if abs(number) >= 1000:
            for separator in (
                ",",
                r"{,}",
                r",\!",
                r",\! ",
                r"\,",
                r"\ ",
                " ",
                "~",
                "{,}\\!",
                r", \! ",
                r"{\,}",
                "\u202f",
            ):
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
            "slash between spaces": f"{sign}{top} / {bottom}",
            "over": rf"{sign}{{{top} \over {bottom}}}",
            "sign in the numerator": rf"\frac{{{sign}{top}}}{{{bottom}}}",
            "brackets": rf"\left({sign}\frac{{{top}}}{{{bottom}}}\right)",
            "big brackets": rf"\bigl({sign}\frac{{{top}}}{{{bottom}}}\bigr)",
            "approximated": rf"{sign}\frac{{{top}}}{{{bottom}}} \approx {sign}{int(top) / int(bottom):.3f}",
            "approximated, unicode": rf"{sign}\frac{{{top}}}{{{bottom}}} ≈ {sign}{int(top) / int(bottom):.3f}",
        }.items():
            yield Variant(name, text)
        yield Variant("sign in brackets", f"({sign}{top})/{bottom}")
        yield Variant("sign in brackets below", f"{top}/({sign}{bottom})")
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
        if len(gold.partition(".")[2]) < 5:  # a longer one was asked for as a decimal
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
        if "infty" in high and "infty" not in low:
            yield Variant("set of its members", rf"\{{x \mid x {'>' if left == '(' else chr(92) + 'ge '} {low}\}}")
    if LIST.fullmatch(gold) and not re.fullmatch(r"-?\d{1,3}(,\d{3})+", gold):
        items = re.split(r", ?", gold)
        yield Variant("another order", ", ".join(reversed(items)))
        yield Variant("and", ", ".join(items[:-1]) + rf" \text{{ and }} {items[-1]}")
        yield Variant("or", r" \text{ or } ".join(items))
        yield Variant("set braces", rf"\{{{', '.join(items)}\}}")
        yield Variant("named list", f"x = {', '.join(items)}")


def _right_units(gold: str) -> Iterator[Variant]:
    if found := DEGREES.fullmatch(gold):
        for text in ("{}", "{}°", "{}º", "{}^o", r"{}^\circ", r"{}^{{\circ}}", r"{}\text{{ degrees}}", "{} degrees"):
            yield Variant("degrees", text.format(found[1]))
    if found := PERCENT.fullmatch(gold):
        for text in ("{}", r"{}\%", r"{} \%", "{}%", r"{}\text{{ percent}}", "{} percent", "{} per cent"):
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
        yield Variant("base in words", rf"{found[1]} \text{{ base }} {found[2]}")
        yield Variant("numeral in brackets", f"({found[1]})_{{{found[2]}}}")
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
        for unit in (r"\text{ cm}^2", r"\text{ square units}", r"\mathrm{ cm}", r"\;\text{m}", r"\text{ inches}"):
            yield Variant("pi and a unit", f"{gold}{unit}")
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


_RIGHT: tuple[Callable[[str], Iterator[Variant]], ...] = (
    _right_numbers,
    _right_fractions,
    _right_groups,
    _right_units,
    _right_expressions,
)

"""What a worker runs on two LaTeX values: latex2sympy reads them, math-verify and exact numbers compare them."""

from __future__ import annotations

import re
from itertools import count

import mpmath
import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
from math_verify import verify
from math_verify.grader import should_treat_as_complex
from sympy import Basic, Float, I, MatrixBase, Rational, Symbol, UnevaluatedExpr, nan, simplify, zoo
from sympy.core.relational import Eq, Relational

from cppo_verl.rewards.literals import ROUNDED, SIGNIFICANT, read_literal
from cppo_verl.rewards.result import Outcome
from cppo_verl.rewards.work_left import is_expanded, is_product, multiplies, without_ones, work_left

_READING = ConversionConfig(lowercase_symbols=False)
_SUBSCRIPT = re.compile(r"_ ?\{ ?\\([a-zA-Z]+) ?\}|_ ?\\([a-zA-Z]+)")  # R_{\odot}, which it does not know
_DIVISOR = re.compile(r"\\(gcd|lcm)(?= ?\([^()]*(?<![a-zA-Z\\])[a-zA-Z])")  # of letters, which it takes for 1
_DIGITS = 50
mpmath.mp.dps = _DIGITS
_NEAR = 1e-40
"""Two values this near, relatively, are equal unless both are rational, which are compared exactly."""
_TINY = sympy.Float("1e-100")
"""What is smaller may be 0 that rounding made of 2-2: rational values are compared exactly."""
_POINTS = (Rational(7, 5), Rational(11, 3))
_NEGATIVE = (Rational(-9, 7), Rational(-13, 4))


def compare(gold: str, answer: str, relation: bool = False, tolerance: float = 0.0, form: bool = False) -> Outcome:
    """Compare two values, or two relations; sympy may raise anything, and may take for ever.

    Args:
        gold: the reference.
        answer: what is compared with it.
        relation: whether both are equations or inequalities.
        tolerance: how far two numbers may be apart.
        form: whether a product wants a product, and what is expanded something expanded.

    Returns:
        `equal`, `unworked` (of the gold's value, with work left to do), `different`, `unparseable` or `bad_gold`.
    """
    if (reference := read(gold)) is None:
        return "bad_gold"
    if (target := read(answer)) is None:
        return "unparseable"
    ours, theirs = _valued(reference), _valued(target)
    if relation:
        return "equal" if _in_order(ours) == _in_order(theirs) or _same_relation(ours, theirs) else "different"
    if isinstance(ours, Relational) or isinstance(theirs, Relational):
        return "different"
    if _is_number(ours) and _is_number(theirs):
        outcome = _compare_numbers(gold, ours, answer, theirs, tolerance)
    else:
        outcome = "equal" if _in_order(ours) == _in_order(theirs) or _same_expression(ours, theirs) else "different"
    if outcome != "equal" or not isinstance(ours, sympy.Expr) or tolerance:
        return outcome
    number, given = read_literal(gold), read_literal(answer)
    if given or (number and not number.places):
        return "equal" if given else "unworked"  # `2x-2x+5` too
    left = work_left(answer, target) - work_left(gold, reference)
    return "unworked" if left or (form and not _same_form(reference, target)) else "equal"


def _same_form(reference: Basic, target: Basic) -> bool:
    target = without_ones(target)
    if is_product(reference):
        return is_product(target) or not isinstance(target, sympy.Add)
    if isinstance(target, sympy.Add) and not reference.has(sympy.Add):  # cot x, of sec x/sin x - sin x/cos x
        return False
    return not (is_expanded(reference) and multiplies(target))


def read(latex: str) -> Basic | MatrixBase | None:
    """What latex2sympy reads in a LaTeX value, unevaluated; None if it cannot be read or has no value."""
    if number := read_literal(latex):  # 0.\\overline{3}, which it does not know
        return Rational(number.value.numerator, number.value.denominator)
    try:
        found = latex2sympy(
            _DIVISOR.sub(r"\\text{\1}", _SUBSCRIPT.sub(lambda found: f"_{{{found[1] or found[2]}}}", latex)),
            is_real=not should_treat_as_complex(latex),
            convert_degrees=False,
            normalization_config=None,
            conversion_config=_READING,
        )
    except Exception:  # noqa: BLE001  (ANTLR's listener and sympy raise Exception itself for what is no formula)
        return None
    return found if isinstance(found, Basic | MatrixBase) and found not in (nan, zoo) else None


def _valued(found: Basic | MatrixBase) -> Basic | MatrixBase:
    """With decimals as fractions, i as the imaginary unit, and what sympy holds back (`\\gcd(10,15)`) as its value."""
    if found.has(UnevaluatedExpr):
        found = found.replace(UnevaluatedExpr, lambda value: value)
    decimals = {number: Rational(str(number)) for number in found.atoms(Float)}
    units = {symbol: I for symbol in found.free_symbols if symbol.name == "i"}
    return found.xreplace(decimals | units) if decimals or units else found


def _in_order(value: Basic | MatrixBase) -> Basic | MatrixBase:
    """With factors and terms in sympy's order, which latex2sympy leaves as they were written."""
    return value.func(*map(_in_order, value.args)) if isinstance(value, sympy.Expr) and value.args else value


def _is_number(value: Basic | MatrixBase) -> bool:
    return isinstance(value, sympy.Expr) and not value.free_symbols and not value.has(sympy.core.function.AppliedUndef)


def _compare_numbers(gold: str, reference: Basic, answer: str, target: Basic, tolerance: float) -> Outcome:
    ours, theirs = reference.evalf(_DIGITS), target.evalf(_DIGITS)
    if reference.is_infinite or target.is_infinite:
        return "equal" if reference == target else "different"
    if not (ours.is_number and theirs.is_number) or ours in (nan, zoo) or theirs in (nan, zoo):
        return "different"
    number, given = read_literal(gold), read_literal(answer)
    if tolerance:
        return "equal" if abs(ours - theirs) <= tolerance + 1e-9 else "different"
    if _same_number(reference, target, ours, theirs):
        return "unworked" if number and not given else "equal"
    if number and number.digits >= ROUNDED and not given and not target.is_rational:
        return "equal" if theirs.is_real and number.rounds(Rational(str(theirs))) else "different"
    if given and given.digits >= SIGNIFICANT and not number and ours.is_real:
        return "equal" if given.rounds(Rational(str(ours))) else "different"
    return "different"


def _same_number(reference: Basic, target: Basic, ours: Basic, theirs: Basic) -> bool:
    if not _near(ours, theirs) and max(abs(ours), abs(theirs)) > _TINY:
        return False
    exact = reference.doit(), target.doit()
    if all(value.is_Rational for value in exact):
        return exact[0] == exact[1]
    return _near(ours, theirs) or simplify(exact[0] - exact[1]) == 0


def _near(first: Basic, second: Basic) -> bool:
    """Whether two numbers in `_DIGITS` digits are as near as rounding leaves equal ones."""
    values = [mpmath.mpc(*map(mpmath.mpmathify, value.as_real_imag())) for value in (first, second)]
    return abs(values[0] - values[1]) <= _NEAR * max(map(abs, values))


def _same_expression(reference: Basic | MatrixBase, target: Basic | MatrixBase) -> bool:
    try:
        same = verify(reference, target, timeout_seconds=None, raise_on_error=True)
    except (ValueError, TypeError):  # math-verify refuses a side without a value, such as 1/0
        return False
    if not (isinstance(reference, sympy.Expr) and isinstance(target, sympy.Expr)):
        return bool(same)
    if reference.free_symbols != target.free_symbols and not (same or reference.free_symbols & target.free_symbols):
        return False
    if same:
        return _agree(reference, target, _POINTS) is not False
    return _same_where_positive(reference, target)


def _same_where_positive(reference: Basic, target: Basic) -> bool:
    r"""Whether two expressions are equal for positive variables, and for others have no two real values that differ:
    `\sqrt{1/n}` and `1/\sqrt{n}`."""
    positive = {symbol: Symbol(symbol.name, positive=True) for symbol in reference.free_symbols | target.free_symbols}
    if _agree(reference, target, _POINTS) is not True or _agree(reference, target, _NEGATIVE) is False:
        return False
    return simplify(reference.xreplace(positive) - target.xreplace(positive)) == 0


def _agree(reference: Basic, target: Basic, points: tuple[Rational, ...]) -> bool | None:
    """Whether two expressions have the same real value at points that mean nothing to either; None without values."""
    symbols = sorted(reference.free_symbols | target.free_symbols, key=lambda symbol: symbol.name)
    found = None
    for shift in points:
        at = {symbol: shift + shift * Rational(number, 10) for symbol, number in zip(symbols, count(), strict=False)}
        values = [expression.xreplace(at).evalf(_DIGITS) for expression in (reference, target)]
        if not all(value.is_number and value.is_real for value in values):
            continue
        if not _near(*values):
            return False
        found = True
    return found


def _same_relation(reference: Basic, target: Basic) -> bool:
    """Two equations are the same if their sides differ by a constant factor, two inequalities by a positive one."""
    if not isinstance(reference, Relational) or not isinstance(target, Relational):
        return (
            isinstance(reference, Basic)
            and bool(verify(reference, target, timeout_seconds=None))
            and _is_chain(reference, target)
        )
    if isinstance(reference, Eq) and isinstance(target, Eq) and reference.lhs == target.lhs:
        if _in_order(reference.rhs) == _in_order(target.rhs):
            return True
        return _same_expression(reference.rhs, target.rhs)
    (ours, sign), (theirs, other) = _sides(reference), _sides(target)
    if sign != other:
        return False
    factor = simplify(ours / theirs)
    return bool(factor.is_number and factor.is_finite and factor != 0 and (sign == "=" or factor.is_positive))


def _is_chain(*values: Basic) -> bool:
    """Whether each is several relations in one, such as a < b < c."""
    return all(type(value).__name__ == "And" for value in values)


def _sides(relation: Relational) -> tuple[Basic, str]:
    """What is compared with 0, and how: `=`, `!=`, `>` or `>=`."""
    if isinstance(relation, Eq):
        return relation.lhs - relation.rhs, "="
    if isinstance(relation, sympy.Ne):
        return relation.lhs - relation.rhs, "!="
    greater = relation.gts - relation.lts
    return greater, ">" if isinstance(relation, sympy.StrictGreaterThan | sympy.StrictLessThan) else ">="

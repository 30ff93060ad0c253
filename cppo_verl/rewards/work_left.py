r"""What is left to work out in an answer, as latex2sympy reads it, before anything is evaluated.

`3\sqrt{13}`, `\frac{1+\sqrt5}{2}`, `72\pi` and `x^2+2x` are worked out; `\sqrt{117}`, `2^3`, `5!`, `(1+2i)(3-i)`,
`x+2x` and `(10r^3)(4r^6)` are not. What the gold leaves standing itself, its answers may.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sympy import Add, Basic, Mul, NumberSymbol, Pow, Rational, Symbol, expand, gcd, sqrt, sqrtdenest

_NAMED = re.compile(r"\\(?:binom|choose|gcd|lcm|min|max|det|bmod|mod|pmod)(?![a-zA-Z])")


def work_left(latex: str, raw: Basic) -> frozenset[str]:
    """The kinds of work left.

    Args:
        latex: as it was written: latex2sympy works binomials out when it reads them.
        raw: what latex2sympy read.
    """
    named = {found[0] for found in _NAMED.finditer(latex)}
    return frozenset(named.union(*map(_of_node, _nodes(raw))))


def without_ones(raw: Basic) -> Basic:
    """The other factor of a product with nothing but ones: the numerator of `\\frac{x+1}{1}`."""
    factors = [factor for factor in _flat(raw) if _base(factor) != 1]
    return factors[0] if isinstance(raw, Mul) and len(factors) == 1 else raw


def is_product(raw: Basic) -> bool:
    """Whether a polynomial is factored: at least two factors, one of them a sum with letters, and none below a bar."""
    if any(_is_below(factor) and factor.free_symbols for factor in _flat(raw)):
        return False
    above = [f for f in _flat(raw) if not _is_below(f) and not (f.is_Rational and abs(f.p) == 1)]
    powers = [factor for factor in above for _ in range(_times(factor))]
    return len(powers) > 1 and any(isinstance(_base(f), Add) and f.free_symbols for f in above)


def is_expanded(raw: Basic) -> bool:
    """Whether an expression is a sum, or a term, in which no sum is multiplied."""
    return not any(_multiplies_a_sum(node) for node in _nodes(raw)) and not (
        isinstance(raw, Mul) and any(isinstance(_base(factor), Add) for factor in _flat(raw))
    )


def multiplies(raw: Basic) -> bool:
    """Whether a sum is multiplied by something, or by itself: `3(x+4)(x+5)`, `(3y-5)^2`."""
    return any(_multiplies_a_sum(node) for node in _nodes(raw))


def _multiplies_a_sum(node: Basic) -> bool:
    if isinstance(node, Pow):
        return isinstance(node.base, Add) and bool(node.base.free_symbols) and node.exp.is_Integer and node.exp > 1
    if not isinstance(node, Mul):
        return False
    above = [factor for factor in _flat(node) if not _is_below(factor)]
    sums = [factor for factor in above if isinstance(_base(factor), Add) and factor.free_symbols]
    others = [f for f in above if f not in sums and not (f.is_Rational and abs(f.p) == 1)]
    return len(sums) > 1 or bool(sums and others)


def _nodes(value: Basic) -> Iterator[Basic]:
    yield value
    for argument in value.args:
        yield from _nodes(argument)


def _of_node(node: Basic) -> set[str]:
    if isinstance(node, Add):
        return {"sum"} if _like_terms(node) else set()
    if isinstance(node, Mul):
        return _of_product(node)
    if isinstance(node, Pow):
        return _of_power(node)
    if node.is_Atom or node.free_symbols - {s for s in node.free_symbols if s.name == "i"} or not node.args:
        return set()
    return {type(node).__name__}


def _like_terms(node: Add) -> bool:
    """Whether a sum has two terms that differ by a rational factor alone, in sums within it too, or a 0."""
    terms = list(_terms(node))
    return 0 in terms or len({term.as_coeff_Mul()[1] for term in terms}) < len(terms)


def _terms(value: Basic) -> Iterator[Basic]:
    """The terms of nested sums; what is a number is worked out first, and what a rational multiplies."""
    for term in value.args:
        worked = expand(term.doit()) if term.is_number else _distributed(term)
        if isinstance(worked, Add):
            yield from _terms(worked)
        else:
            yield worked


def _distributed(term: Basic) -> Basic:
    """A rational multiple of a sum as the sum of its multiples."""
    factors = list(_flat(term))
    sums = [factor for factor in factors if isinstance(factor, Add)]
    rest = Mul(*(factor for factor in factors if not isinstance(factor, Add))).doit()
    return Add(*(rest * part for part in sums[0].args), evaluate=False) if len(sums) == 1 and rest.is_Rational else term


def _of_product(node: Mul) -> set[str]:
    """`2 \\cdot 3`, and products of complex numbers, of powers of one letter, of roots; `\\frac{1}{2}` is none."""
    factors = list(_flat(node))
    tops = [factor for factor in factors if _is_rational(factor) and factor not in (1, -1)]
    bottoms = [factor for factor in factors if _is_below(factor) and _is_rational(factor.base)]
    fractions = [top for top in tops if not top.is_Integer]
    letters = [_base(f) for f in _of_fraction(node) if _is_letter(_base(f)) and (_is_letter(f) or f.exp.is_Integer)]
    roots = [f for f in factors if isinstance(f, Pow) and isinstance(f.exp, Rational) and not f.exp.is_Integer]
    complex_sums = [f for f in factors if isinstance(f, Add) and {s.name for s in f.free_symbols} == {"i"}]
    below = [f.base.base for f in factors if _is_below(f) and isinstance(f.base, Pow) and f.base.base.is_Integer]
    several = (
        any(gcd(top, base) > 1 for top in tops if top.is_Integer for base in below),
        len(tops) > 1,
        len(bottoms) + len(fractions) > 1,
        len(set(letters)) < len(letters),
        len([root for root in roots if root.free_symbols or _is_rational(root.base)]) > 1,
        bool(complex_sums) and len(complex_sums) + sum(factor.is_Symbol for factor in factors) > 1,
    )
    return {"product"} if any(several) else set()


def _of_power(node: Pow) -> set[str]:
    base, exponent = node.base, node.exp
    if exponent == -1:
        return {"quotient"} if isinstance(base, Add) and {s.name for s in base.free_symbols} <= {"i"} else set()
    exponent = exponent.doit() if exponent.is_number else exponent
    if not isinstance(exponent, Rational) or exponent == -1:
        return set()
    if exponent.is_Integer:
        is_i = base.is_Symbol and base.name == "i"
        return (
            {"power"}
            if is_i or exponent == 1 or isinstance(base, Mul | Pow) or (base.is_number and base.is_algebraic)
            else set()
        )
    value = base.doit()
    if not value.is_Rational:
        left = any(_leaves(factor, exponent.q) for factor in _flat(base)) or (exponent.q == 2 and _is_denested(value))
        return {"root"} if base.is_number and left else set()
    return set() if value > 0 and not _leaves(value, exponent.q) else {"root"}


def _is_denested(value: Basic) -> bool:
    """Whether the square root of a number with roots is a sum of square roots: that of `3+2\\sqrt2` is `1+\\sqrt2`."""
    if not value.is_number or value.is_Atom:
        return False
    roots = [power for power in sqrtdenest(sqrt(value)).atoms(Pow) if not power.exp.is_Integer]
    return all(root.base.is_Rational and root.exp.q == 2 for root in roots)


def _leaves(factor: Basic, degree: int) -> bool:
    """Whether a factor below a root of a degree leaves it, in part or whole: 4, 12, `\\pi^2`."""
    if isinstance(factor, Pow):
        return bool(factor.exp.is_Integer and factor.exp >= degree)
    if not factor.is_Rational:
        return False
    whole = [Pow(part, Rational(1, degree)) for part in (abs(factor.p), factor.q)]
    return not all(isinstance(root, Pow) or root == 1 for root in whole)


def _is_rational(value: Basic) -> bool:
    return bool(value.is_Rational or value.is_Float)


def _is_letter(value: Basic) -> bool:
    return isinstance(value, Symbol | NumberSymbol)  # e and pi too


def _is_below(factor: Basic) -> bool:
    return isinstance(factor, Pow) and factor.exp == -1


def _base(factor: Basic) -> Basic:
    return factor.base if isinstance(factor, Pow) else factor


def _times(factor: Basic) -> int:
    return int(factor.exp) if isinstance(factor, Pow) and factor.exp.is_Integer and 0 < factor.exp < 9 else 1


def _flat(node: Basic) -> Iterator[Basic]:
    for factor in node.args if isinstance(node, Mul) else (node,):
        if isinstance(factor, Mul):
            yield from _flat(factor)
        else:
            yield factor


def _of_fraction(value: Basic) -> Iterator[Basic]:
    """The factors above and below a fraction's bar."""
    for factor in _flat(value):
        if _is_below(factor) and isinstance(factor.base, Mul):
            yield from _of_fraction(factor.base)
        else:
            yield factor

r"""What is left to work out in a number: sums, products and powers of literals, binomials, functions, roots.

`3\sqrt{13}`, `\frac{1+\sqrt5}{2}` and `72\pi` are worked out; `\sqrt{117}`, `2\pi+\pi`, `2^3`, `5!` are not. What the
gold leaves standing itself, its answers may.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sympy import Add, Basic, I, Mul, Pow, Rational, expand

_NAMED = re.compile(r"\\(?:binom|choose|gcd|lcm|min|max|det|bmod|mod|pmod)(?![a-zA-Z])")


def work_left(latex: str, value: Basic) -> frozenset[str]:
    """The kinds of work left in a number.

    Args:
        latex: as it was written: latex2sympy works binomials out when it reads them.
        value: what latex2sympy read, unevaluated.
    """
    named = {found[0] for found in _NAMED.finditer(latex)}
    return frozenset(named.union(*(_of_node(node) for node in _nodes(value))))


def _nodes(value: Basic) -> Iterator[Basic]:
    yield value
    for argument in value.args:
        yield from _nodes(argument)


def _of_node(node: Basic) -> set[str]:
    if isinstance(node, Add):
        return {"sum"} if like_terms(node) else set()
    if isinstance(node, Mul):
        return {"product"} if _factors(node) else set()
    if isinstance(node, Pow):
        return _of_power(node)
    if node.is_Atom or not node.args:
        return set()
    return {type(node).__name__}


def like_terms(value: Basic) -> bool:
    """Whether a sum has two terms that differ by a rational factor alone, in sums within it too."""
    if not isinstance(value, Add):
        return False
    bases = [term.as_coeff_Mul()[1] for term in _terms(value)]
    return len(set(bases)) < len(bases)


def _terms(value: Basic) -> Iterator[Basic]:
    """The terms of nested sums; what is a number is worked out first: 6 and 12i of (1+2i)6."""
    for term in value.args:
        worked = expand(term.doit()) if term.is_number else term
        if isinstance(worked, Add):
            yield from _terms(worked)
        else:
            yield worked


def _factors(node: Mul) -> bool:
    """Whether more than one numerator or denominator is an integer; `\\frac{1}{2}` is one of each, a sign is none."""
    tops = [factor for factor in _flat(node) if factor.is_Rational and factor not in (1, -1)]
    bottoms = [
        factor for factor in _flat(node) if isinstance(factor, Pow) and factor.exp == -1 and factor.base.is_Rational
    ]
    fractions = [top for top in tops if not top.is_Integer]
    return len(tops) > 1 or len(bottoms) + len(fractions) > 1


def _flat(node: Basic) -> Iterator[Basic]:
    for factor in node.args:
        if isinstance(factor, Mul):
            yield from _flat(factor)
        else:
            yield factor


def _of_power(node: Pow) -> set[str]:
    base, exponent = node.base, node.exp
    if exponent == -1:
        return set()
    if not isinstance(exponent, Rational):
        power = exponent.doit()
        if power == -1 or not power.is_Rational:
            return set()
        exponent = power
    value = base.doit()
    if exponent.is_Integer:
        return {"power"} if value.is_Rational or value.is_Add or value == I else set()
    if not value.is_Rational:
        return set()
    whole = [Pow(part, Rational(1, exponent.q)) for part in (abs(value.p), value.q)]
    simple = all(isinstance(root, Pow) or root == 1 for root in whole) and value > 0
    return set() if simple else {"root"}

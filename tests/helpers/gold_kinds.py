"""Kinds of golds, told apart by patterns of their own: what is made of a gold knows nothing of the rewards."""

from __future__ import annotations

import re
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


def decimal(value: Fraction, places: int) -> str:
    digits = f"{abs(value.numerator * 10**places // value.denominator):0{places + 1}d}"
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"

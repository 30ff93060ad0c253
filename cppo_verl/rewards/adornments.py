"""What decorates an answer and says nothing: fonts, colours, sizes, Markdown."""

from __future__ import annotations

import re

_END = "(?![a-zA-Z])"
_GROUP = r"\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"  # braces in braces in braces
_COLOUR = r"(?: ?\[[^\[\]]*\])? ?\{[^{}]*\}"
_FONT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal|sc)?|math(?:rm|bf|it|sf|tt|cal|bb|normal|frak|bin|ord|rel)|mbox|hbox"
    r"|operatorname\*?|boldsymbol|bm|bold|pmb|emph|underline|ensuremath"
    rf"|fcolorbox{_COLOUR}{_COLOUR}|(?:textcolor|colorbox){_COLOUR}|color{_COLOUR}(?= ?{{)) ?{_GROUP}"
)
_SWITCH = re.compile(  # for what follows: \bf 73, \large 73
    r"\\(?:bf|it|rm|sf|tt|em|sc|cal|bfseries|itshape|tiny|scriptsize|footnotesize|small|normalsize|[lL]arge|LARGE"
    rf"|[hH]uge|math(?:bf|it|rm|sf|tt)(?= *[0-9a-zA-Z])){_END} *|\\color{_COLOUR}"
)
_SWITCHED = re.compile(r"\{ *\\(?:bf|it|rm|sf|tt|em)(?![a-zA-Z]) *([^{}]*)\}")  # {\rm cm}
_MARKED = re.compile(r" *(\$?)(\*{1,3}|_{1,2}|`)([^*_`]+)\2\1 *")
_UNIT_FONT = r"\\(?:text|mathrm|mbox|rm) ?\{[ ~]*([a-zA-Z]+(?:\^[0-9])?) ?\}(\^[0-9])?"
_RATE = re.compile(rf"\\[dt]?frac ?\{{ ?{_UNIT_FONT} ?\}} ?\{{ ?{_UNIT_FONT} ?\}}|{_UNIT_FONT} ?/ ?{_UNIT_FONT}")
_COUNTED = re.compile(r" *(-?[0-9][0-9.,]*) +([a-zA-Z][a-zA-Z. ]*)")
_AFTER_DEGREES = re.compile(r"(?:\\circ *\}?|\\degree|\N{DEGREE SIGN}) *(?:\\[,;: ])? *$")
_LEADING_SPACES = re.compile(r"^(?:[ ~]|\\[,;: ])+")
_WORD = re.compile(r"[a-zA-Z]{2}")
_SHORT_UNIT = r"[a-zA-Z]{1,3}(?:\^[0-9])?"
_UNIT = re.compile(rf"[mghsl]|{_SHORT_UNIT}/{_SHORT_UNIT}")
_AFTER_NUMBER = re.compile(r"(?:[0-9})]|\\pi|[0-9}][a-z](?=\\| )) *(?:\\[,;: ])? *$")


def unmarked(text: str) -> str:
    """Without Markdown's emphasis around all of it; `**` elsewhere is a power, as programs write it."""
    found = _MARKED.fullmatch(text)
    text = found[1] + found[3] + found[1] if found else text
    return text.replace("**", "^")


def unadorned(text: str) -> str:
    r"""LaTeX without fonts, colours and sizes; words stand in `\text{}`, and only words."""
    text = _RATE.sub(_rate, _SWITCHED.sub(r"\\mathrm{\1}", text))
    for _ in range(3):  # a font in a font
        text, found = _FONT.subn(_unfont, _SWITCH.sub("", text))
        if not found:
            break
    return text


def _rate(found: re.Match[str]) -> str:
    """`\\frac{\\text{m}}{\\text{s}}` after a number as `\\text{m/s}`."""
    is_unit = _AFTER_NUMBER.search(found.string[: found.start()])
    names, powers = found.groups("")[::2], found.groups("")[1::2]
    unit = "/".join(name + power for name, power in zip(names, powers, strict=True) if name)
    return rf"\text{{{unit}}}" if is_unit else found[0]


def _unfont(found: re.Match[str]) -> str:
    inside, before = _LEADING_SPACES.sub("", found[1]), found.string[: found.start()]
    if found[0].startswith(r"\mathbb"):
        return rf"\mathbb {inside.strip()} "
    is_unit = _UNIT.fullmatch(inside.strip()) and found[0].startswith((r"\text", r"\mathrm", r"\mbox"))
    if (is_unit and _AFTER_NUMBER.search(before)) or (inside.strip() in ("C", "F") and _AFTER_DEGREES.search(before)):
        return rf"\text{{{inside.strip()}}}"
    if counted := _COUNTED.fullmatch(inside):  # \text{8 cm}
        return rf"{counted[1]} \text{{{counted[2].strip()}}}"
    if _WORD.search(re.sub(r"\\[a-zA-Z]+", "", inside)) and not inside.lstrip().startswith("\\"):
        return rf"\text{{{inside.strip()}}}" if "\\" not in inside else inside
    joined = re.sub(r"([a-z])\. ?(?=[a-z]\b)", r"\1", inside)  # p.m.
    return rf"\text{{{joined.strip(' .')}}}" if joined != inside else inside

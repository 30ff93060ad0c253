r"""One spelling of a LaTeX answer: same symbols, fractions, fonts and thousands, nothing that only decorates.

`plain` changes how an answer is written, never what it says. What it returns is read by `answers` (lists, tuples,
intervals) and `quantities` (units). All patterns are linear in the length of the text, which is limited.
"""

from __future__ import annotations

import re

from cppo_verl.rewards.adornments import unadorned, unmarked

_SYMBOLS = str.maketrans(
    {
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "\N{MULTIPLICATION SIGN}": r"\cdot ",
        "\N{MIDDLE DOT}": r"\cdot ",
        "\N{DOT OPERATOR}": r"\cdot ",
        "\N{DIVISION SIGN}": "/",
        "\N{FRACTION SLASH}": "/",
        "\N{DEGREE SIGN}": r"^{\circ}",
        "\N{MASCULINE ORDINAL INDICATOR}": r"^{\circ}",  # which keyboards have where the degree sign should be
        "\N{RING ABOVE}": r"^{\circ}",
        "\N{GREEK SMALL LETTER PI}": r"\pi ",
        "\N{GREEK SMALL LETTER THETA}": r"\theta ",
        "\N{INFINITY}": r"\infty ",
        "\N{PLUS-MINUS SIGN}": r"\pm ",
        "\N{ALMOST EQUAL TO}": r"\approx ",
        "\N{LESS-THAN OR EQUAL TO}": r"\le ",
        "\N{GREATER-THAN OR EQUAL TO}": r"\ge ",
        "\N{NOT EQUAL TO}": r"\ne ",
        "\N{UNION}": r"\cup ",
        "\N{ELEMENT OF}": r"\in ",
        "\N{VULGAR FRACTION ONE HALF}": r" \frac{1}{2}",
        "\N{VULGAR FRACTION ONE QUARTER}": r" \frac{1}{4}",
        "\N{VULGAR FRACTION THREE QUARTERS}": r" \frac{3}{4}",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{NO-BREAK SPACE}": " ",
        "\N{THIN SPACE}": " ",
        "\N{NARROW NO-BREAK SPACE}": " ",
        "\N{ZERO WIDTH SPACE}": "",
    }
)
_DIGITS = "0123456789-"
_RAISED, _LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "₀₁₂₃₄₅₆₇₈₉₋"
_SMALL = re.compile(f"([{_RAISED}]+)|[{_LOWERED}]+")
_ON_THE_LINE = str.maketrans(_RAISED + _LOWERED, _DIGITS * 2)
_END = "(?![a-zA-Z])"
_SPACES = " \N{NO-BREAK SPACE}\N{THIN SPACE}\N{NARROW NO-BREAK SPACE}"
_QUOTES = "'\N{RIGHT SINGLE QUOTATION MARK}"
_THOUSANDS = re.compile(
    r"(?<![\d.,'])\d{1,3}(?:(?: ?,? ?\\! ?| ?\{ ?(?:\\?,)?(?:\\!)? ?\}(?:\\! ?)?|\\[,;: ]"
    rf"|[~{_QUOTES}{_SPACES}])\d{{3}})+(?![\d/{_QUOTES}])"
)
_NO_DIGIT = re.compile(r"\D+")
_SPACE = re.compile(r"(?<![0-9])\s+|\s+(?![0-9\s])")
_COMMANDS = re.compile(r"\\(?:[dtc]?frac|sqrt)" + _END)
_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[^\\]", re.DOTALL)
_REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\{([^{}]*)\\over(?![a-zA-Z])([^{}]*)\}", r"\\frac{\1}{\2}"),
        (r"\{([^{}]*)\\choose(?![a-zA-Z])([^{}]*)\}", r"\\binom{\1}{\2}"),
        (r"\\(?:nice|s|x)frac(?= ?\{)", r"\\frac"),
        (
            r"\\(?:displaystyle|textstyle|scriptstyle|limits|strut|mathstrut|nobreak|hfill|newline|qed|blacksquare|square|Box"
            r"|checkmark|boxed|fbox|framebox)" + _END,
            "",
        ),
        (r"\\phantom *(?:\{[^{}]*\}|.)", ""),  # it takes room and shows nothing
        (r"\\m?(?:left|right) ?\.", ""),
        (r"\\m?(?:left|right|middle|[bB]igg?[lrm]?)" + _END, ""),
        (r"\\[()]|\\\[(?![\d.]+(?:pt|ex|em)\])|(?<!\\)\\\]", " "),
        (r"(?<!\\)\$", " "),  # what delimits a formula; `\\$` is a currency
        (r"\N{SQUARE ROOT} ?\(([^()]*)\)|\N{SQUARE ROOT} ?([0-9]+|[a-z])?", r"\\sqrt{\1\2}"),
        (r"\\!", ""),
        (r"(?<!\\)\\[,;: >]|~|\\(?:q?quad|hspace\{[^{}]*\}|enspace|thinspace)" + _END + r"|(?<!\\)\\(?=\s)", " "),
        (r"\\(?:times|cdot|ast|bullet)" + _END + r"|(?<!\*)\*(?!\*)", r"\\cdot "),
        (r"\\(?:[lc]?dots[cbmio]?)" + _END + r"|\.\.\.|\N{HORIZONTAL ELLIPSIS}", r"\\dots "),
        (r" ?(?:\\div" + _END + "|/) ?", "/"),
        (r"\\(?:leqslant|leqq|leq|le)" + _END + r"|<=", r"\\le "),
        (r"\\(?:geqslant|geqq|geq|ge)" + _END + r"|>=", r"\\ge "),
        (r"^ *(?:\\(?:therefore|implies|(?:R|Longr)ightarrow)" + _END + " *)+", ""),
        (r"\\[lr]vert" + _END, "|"),
        (r"\{ ?([-+]) ?\}", r"\1"),
        (r"(?<=[0-9 ])\{ ?(\\text\{[^{}]*\}) ?\}(?= ?\^)", r"\1"),
        (r"(^ *|\\cup *|\\in *|= *)\]([^\[\](),]+),", r"\1(\2,"),  # ]a,b[ is (a,b)
        (r",([^\[\](),]+)\[(?= *(?:$|\\cup))", r",\1)"),
        (r":=", "="),
        (r"\\lt" + _END, "<"),
        (r"\\gt" + _END, ">"),
        (r"\\(?:neq|ne)" + _END + "|!=", r"\\ne "),
        (r"\\(?:thickapprox|approxeq|simeq|doteq)" + _END, r"\\approx "),
        (r"\( ?(\\approx [^()]*)\) *$", r"\1"),
        (r"\\(?:lbrace|\{)" + r"(?![a-zA-Z])", r"\\{"),
        (r"\\(?:rbrace|\})" + r"(?![a-zA-Z])", r"\\}"),
        (r"\\(?:lbrack)" + _END, "["),
        (r"\\(?:rbrack)" + _END, "]"),
        (r"(?:\{\})?\^ ?(?:\{ ?\\circ ?\}|\\circ" + _END + r")|\\degree" + _END, r"^{\\circ}"),
        (r"(?<=[0-9])\^ ?(?:\{ ?o ?\}|o" + _END + ")", r"^{\\circ}"),
        (r"\\%|(?<!\\)%", r"\\%"),
        (r"\\(?:varnothing|emptyset)" + _END, r"\\emptyset "),
        (r"\\(?:backslash|setminus)" + _END, r"\\setminus "),
        (r"(?<![a-zA-Z\\])(?:infinity|infty|inf)" + _END, r"\\infty "),
        (r"(?<![a-zA-Z\\])sqrt" + _END, r"\\sqrt "),
        (r"(?<![a-zA-Z\\])(?:pi|Pi)" + _END, r"\\pi "),
        (r"\\sqrt *\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\\(dbinom|tbinom)" + _END, r"\\binom"),
        (r"\\begin\{(?:[bBvV]?matrix|smallmatrix|array)\}(?:\{[^{}]*\})?", r"\\begin{pmatrix}"),
        (r"\\end\{(?:[bBvV]?matrix|smallmatrix|array)\}", r"\\end{pmatrix}"),
        (r"[(\[] ?(?=\\begin\{pmatrix\})|(?<=\\end\{pmatrix\}) ?[)\]]", ""),
        (r"\\\\\[[^\[\]]*\]", r"\\\\"),
        (r"\\\\ *(?=\\end\{pmatrix\})", ""),
        (r"\\\{ *\\\}", r"\\emptyset "),
        (r"\{\}", ""),
    ]
]
_MAX_BRACES = 8
_TIDY_ENDS = re.compile(r"^[ :=,;]+|[ .,;:\\]+$")


def plain(latex: str) -> str:
    """The answer in one spelling.

    `\\dfrac12` and `½` are `\\frac{1}{2}`; `32,\\!000`, `32{,}000`, `32\\,000` and `32 000` are 32000; words stand in
    `\\text{}`, and only words; bold, colours, sizes, kinds of space, dollars around formulas and what ends a sentence
    are gone. A bare comma, `32,000`, is left: it may be a list.
    """
    text = re.sub(r"\s+", " ", latex).translate(_SYMBOLS)
    text = _SMALL.sub(lambda found: f"{'^' if found[1] else '_'}{{{found[0].translate(_ON_THE_LINE)}}}", text)
    text = unadorned(join_thousands(unmarked(text)))
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = _braced(text)
    text = re.sub(r"([_^]) ?\{ ?([0-9a-zA-Z]) ?\}(?! ?[0-9])", r"\1\2", text)
    return whole_group(_TIDY_ENDS.sub("", re.sub(r" +", " ", text)).strip())


def join_thousands(text: str) -> str:
    r"""The text with `32,\!000`, `32{,}000`, `32\,000` and `32 000` as 32000; a bare comma is left."""
    return _THOUSANDS.sub(lambda found: _NO_DIGIT.sub("", found[0]), text)


def squeezed(text: str) -> str:
    """The text without spaces, except between two digits: what two spellings of one answer share."""
    return _SPACE.sub("", text)


def _braced(text: str) -> str:
    r"""With braces around the arguments of each fraction and root: the innermost, which stand last, first."""
    for found in reversed(list(_COMMANDS.finditer(text))):
        name, end = (r"\sqrt" if found[0] == r"\sqrt" else r"\frac"), found.end()
        if name == r"\sqrt" and (index := re.compile(r" ?\[[^\[\]]*\]").match(text, end)):
            name, end = name + index[0].strip(), index.end()
        arguments = []
        for _ in range(1 if name.startswith(r"\sqrt") else 2):
            argument, end = _argument(text, end)
            arguments.append(f"{{{argument.strip()}}}")
        text = text[: found.start()] + name + "".join(arguments) + text[end:]
    return text


def _argument(text: str, start: int) -> tuple[str, int]:
    """What TeX takes as the argument at a position, a group or one token, and where it ends."""
    while text[start : start + 1] == " ":
        start += 1
    if text[start : start + 1] != "{":
        token = _TOKEN.match(text, start)
        if token is None or token[0] in ("}", "&", ")", ",", "="):
            return "", start
        return token[0], token.end()
    depth = 0
    for token in _TOKEN.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return text[start + 1 : token.start()], token.end()
    return text[start + 1 :], len(text)


def whole_group(text: str) -> str:
    """Without braces around all of it, of which each costs a look at the text."""
    for _ in range(_MAX_BRACES):
        if not (text.startswith("{") and text.endswith("}") and _argument(text, 0)[1] == len(text)):
            break
        text = text[1:-1].strip()
    return text

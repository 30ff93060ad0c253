"""Prepare OlympiadBench: `python examples/data_preprocess/olympiadbench.py --local_dir data/olympiadbench`.

Test only: the open-ended English competition problems in mathematics that need no picture. Tested with a local
folder (`--source`); the hub's data set has the same fields. Scored by `cppo_verl.rewards.olympiad`.
"""

from cppo_verl.data.prepare import main
from cppo_verl.data.prompts import MATH_SYSTEM
from cppo_verl.data.rows import Recipe
from cppo_verl.rewards.olympiad import parse_gold

OLYMPIADBENCH = Recipe(
    data_sources={"test": "Hothan/OlympiadBench"},
    question="question",
    answer="final_answer",
    parse_gold=parse_gold,
    system=MATH_SYSTEM,
    styles=("tags",),
    context="context",
    scoring={"unit": str, "error": float},
    # One published answer has the variable's name stuck to it, the other a comma in the middle of a product;
    # the published solutions say what is right.
    errata={
        "A circle $\\omega$ of radius 1 is given. A collection $T$ of triangles": "(0,4]",
        "If $\\log _{2} x-2 \\log _{2} y=2$, determine $y$": "\\frac{1}{2}\\sqrt{x}",
    },
)

if __name__ == "__main__":
    raise SystemExit(main(OLYMPIADBENCH, __doc__))

"""Prepare LIMR: `python examples/data_preprocess/limr.py --local_dir data/limr` (train only).

Tested with a local folder (`--source`); the hub's data set has the same fields. A third of LIMR's problems are in
MATH's test set of 5,000 (none in MATH-500): do not score a model trained on it there.
"""

from cppo_verl.data.prepare import main
from cppo_verl.data.prompts import MATH_SYSTEM
from cppo_verl.data.rows import Recipe
from cppo_verl.rewards.math import parse_answer

LIMR = Recipe(
    data_sources={"train": "GAIR/LIMR"},
    question="prompt",
    answer="answer",
    parse_gold=parse_answer,
    system=MATH_SYSTEM,
)

if __name__ == "__main__":
    raise SystemExit(main(LIMR, __doc__))

"""Prepare AIME 2024: `python examples/data_preprocess/aime24.py --local_dir data/aime24` (test only).

Tested with a local folder (`--source`); the hub's data set has the same fields.
"""

from cppo_verl.data.prepare import main
from cppo_verl.data.prompts import MATH_SYSTEM
from cppo_verl.data.rows import Recipe
from cppo_verl.rewards.math import parse_number

AIME24 = Recipe(
    data_sources={"test": "HuggingFaceH4/aime_2024"},
    question="problem",
    answer="answer",  # three digits, zeros in front
    parse_gold=parse_number,
    system=MATH_SYSTEM,
)

if __name__ == "__main__":
    raise SystemExit(main(AIME24, __doc__))

"""Prepare AMC 2023: `python examples/data_preprocess/amc23.py --local_dir data/amc23` (test only).

Tested with a local folder (`--source`); the hub's data set has the same fields.
"""

from cppo_verl.data.prepare import main
from cppo_verl.data.prompts import MATH_SYSTEM
from cppo_verl.data.rows import Recipe
from cppo_verl.rewards.math import parse_number

AMC23 = Recipe(
    data_sources={"test": "math-ai/amc23"},
    question="question",
    answer="answer",  # a float
    parse_gold=parse_number,
    system=MATH_SYSTEM,
)

if __name__ == "__main__":
    raise SystemExit(main(AMC23, __doc__))

"""Prepare MATH and MATH-500: `python examples/data_preprocess/math_dataset.py --local_dir data/math`."""

from cppo_verl.data.prepare import main
from cppo_verl.data.prompts import MATH_SYSTEM
from cppo_verl.data.rows import Recipe
from cppo_verl.rewards.math import parse_gold

MATH = Recipe(
    data_sources={"train": "DigitalLearningGmbH/MATH-lighteval", "test": "HuggingFaceH4/MATH-500"},
    question="problem",
    answer="solution",
    parse_gold=parse_gold,
    system=MATH_SYSTEM,
    # Two published solutions end in an empty \boxed{}; both argue that the number of primes is zero.
    errata={
        "For any integer $n>1$, the number of prime numbers greater than $n!+1$": "0",
        "You are given a sequence of $58$ terms; each term has the form $P+n$": "0",
    },
)

if __name__ == "__main__":
    raise SystemExit(main(MATH, __doc__))

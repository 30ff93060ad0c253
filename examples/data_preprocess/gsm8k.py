"""Prepare GSM8K for verl: `python examples/data_preprocess/gsm8k.py --local_dir data/gsm8k`."""

from cppo_verl.data.known_errors import KnownError
from cppo_verl.data.prepare import main
from cppo_verl.data.prompts import GSM8K_SYSTEM
from cppo_verl.data.rows import Recipe
from cppo_verl.rewards.gsm8k import parse_gold

GSM8K = Recipe(
    data_sources={"train": "openai/gsm8k", "test": "openai/gsm8k"},
    question="question",
    answer="answer",
    parse_gold=parse_gold,
    system=GSM8K_SYSTEM,
    styles=("tags", "hash", "boxed"),
    known_errors=(
        KnownError(
            "The girls are trying to raise money for a carnival. Kim raises $320 more",
            published="2280",
            right="2180",
            why="test row 1309 from 0: the solution adds 750+430+400+700, where the question gives Sarah 300, not 400",
        ),
        KnownError(
            "After scoring 14 points, Erin now has three times more points than Sara",
            published="18",
            right=None,
            why='test row 368 from 0: "three times more" than 8 is read as 32; read as 24, as often, it makes 10',
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(main(GSM8K, __doc__))

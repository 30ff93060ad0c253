"""Prepare GSM8K for verl: `python examples/data_preprocess/gsm8k.py --local_dir data/gsm8k`."""

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
)

if __name__ == "__main__":
    raise SystemExit(main(GSM8K, __doc__))

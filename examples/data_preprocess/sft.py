"""Prepare demonstrations from worked solutions: `python examples/data_preprocess/sft.py --local_dir data/sft`.

From what `gsm8k.py` and `math_dataset.py` wrote.
"""

from cppo_verl.data.sft import main

if __name__ == "__main__":
    raise SystemExit(main(__doc__))

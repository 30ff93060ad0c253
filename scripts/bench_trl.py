"""Seconds a question of TRL's GRPOTrainer on a benchmark's model and questions; started by scripts/bench_trl.sh.

The settings are those of `recipe=toy`: 4 questions of 16 completions a step, two passes over one mini-batch, KL loss.
What cannot be the same: TRL samples with transformers, and all completions get the same length, the mean of the
benchmark's. Writes trl.json into the benchmark's folder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
import zlib
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

QUESTIONS, GROUP, PASSES = 4, 16, 2
LONGEST = 128
"""Of the geometry `small`."""
MEAN = round(LONGEST * 0.2 * math.exp(0.42**2 / 2))
"""Tokens of a completion: of the log-normal of `cppo_verl.bench.forced`."""
PACKAGES = "trl", "torch", "transformers"


class Clock(TrainerCallback):
    """When each optimiser step was done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, *_, **__) -> None:
        self.times.append(time.perf_counter())


def by_chance(completions: list, **_) -> list[float]:
    """Rewards of 0 to 3 by a hash, so that they differ within a group."""
    return [float(zlib.crc32(f"{number}:{text}".encode()) % 4) for number, text in enumerate(completions)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path, help="folder of a benchmark of the geometry small")
    parser.add_argument("--steps", type=int, default=8, help="steps; the first is not measured")
    args = parser.parse_args()
    inputs = args.bench / "inputs"
    prompts = [list(prompt) for prompt in pd.read_parquet(inputs / "questions.parquet")["prompt"]]
    clock = Clock()
    trainer = GRPOTrainer(
        model=str(inputs / "model"),
        reward_funcs=by_chance,
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
        callbacks=[clock],
        args=GRPOConfig(
            output_dir=str(args.bench / "trl"),
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=QUESTIONS * GROUP,
            num_generations=GROUP,
            num_iterations=PASSES,
            max_completion_length=MEAN,
            generation_kwargs={"min_new_tokens": MEAN},
            beta=0.01,
            loss_type="grpo",
            learning_rate=2e-4,
            max_steps=args.steps * PASSES,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
        ),
    )
    trainer.train()
    ends = clock.times[PASSES - 1 :: PASSES]
    seconds = [(end - start) / QUESTIONS for start, end in itertools.pairwise(ends)]
    found = {
        "seconds a question": statistics.median(seconds),
        "fastest": min(seconds),
        "slowest": max(seconds),
        "tokens a completion": MEAN,
        "versions": {name: version(name) for name in PACKAGES},
    }
    (args.bench / "trl.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

"""Run folders for the tests of the report: small, generated, every number in them known."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from cppo_verl.evaluation.results import GENERATIONS, RESULTS, SETTINGS, summarize

SOURCE = "cppo/word_problems"
KINDS = {
    "format_right_answer_right": (0.4, 0.5),
    "format_right_answer_wrong": (0.3, 0.1),
    "format_wrong_answer_right": (0.1, 0.1),
    "format_wrong_answer_wrong": (0.2, 0.3),
}
"""Kind to its share of the sampled and of the kept completions."""


def config(folder: Path, *, rate=0.0, steps=4, n=8, seed=0, rollout_seed=None, v1=None, model="m", **cppo) -> dict:
    """The part of a resolved config that the report reads."""
    return {
        "actor_rollout_ref": {
            "model": {"path": model},
            "actor": {
                "strategy": "fsdp2",
                "ulysses_sequence_parallel_size": 1,
                "ppo_mini_batch_size": 2,
                "ppo_epochs": 2,
                "data_loader_seed": seed,
            },
            "rollout": {"n": n, "seed": seed, "val_kwargs": {"n": 1}},
        },
        "data": {"train_batch_size": 4, "seed": seed},
        "trainer": {
            "n_gpus_per_node": 1,
            "nnodes": 1,
            "experiment_name": folder.name,
            "default_local_dir": str(folder),
            "rollout_data_dir": f"{folder}/rollouts",
            "total_training_steps": steps,
            **({"use_v1": True, "v1": {"trainer_mode": f"cppo_{v1}"}} if v1 else {}),
        },
        "cppo": {"pruning_rate": rate, "seed": seed, "rollout_seed": rollout_seed, "allocation": bool(rate)} | cppo,
    }


def step_data(step: int, *, rate=0.0, steps=4, n=8, allocation=None, speed=1.0, **_) -> dict[str, float]:
    """What a step logs: 10 tokens a completion, timers that add up to 10 s and shrink with P."""
    kept_share = 1 - rate
    allocation = bool(rate) if allocation is None else allocation
    questions = round(4 / kept_share) if allocation else 4
    sampled = questions * n
    kept = round(sampled * kept_share)
    forward = kept / sampled * questions / 4 * speed
    generation = 4.0 * questions / 4 * speed
    return {
        "training/global_step": step,
        "cppo/planned_steps": steps,
        "cppo/updates_per_epoch": 400 // questions,
        "cppo/questions": questions,
        "cppo/completions_sampled": sampled,
        "cppo/completions_kept": kept,
        "cppo/tokens_sampled": 10 * sampled,
        "cppo/tokens_trained": 10 * kept,
        "cppo/zero_variance_questions": 1,
        "cppo/sampled/reward": 1 + 0.1 * step,
        "cppo/padding/old": kept,
        "cppo/padding/ref": kept,
        "cppo/padding/update": 2 * kept,
        **{f"cppo/kinds/{kind}/sampled": sampled * share for kind, (share, _) in KINDS.items()},
        **{f"cppo/kinds/{kind}/kept": kept * share for kind, (_, share) in KINDS.items()},
        "timing_s/gen": generation,
        "timing_s/reward": 0.25,
        "timing_s/adv": 0.1,
        "timing_s/prune": 0.1,
        "timing_s/draw": 0.01,
        "timing_s/gather": 0.04,
        "timing_s/old_log_prob": 1.0 * forward,
        "timing_s/ref": 1.0 * forward,
        "timing_s/update_actor": 3.0 * forward,
        "timing_s/update_weights": 0.25,
        "timing_s/step": generation + 5.0 * forward + 1.0,
        "perf/throughput": 10 * sampled / (generation + 5.0 * forward + 1.0),
        "actor/perf/max_memory_allocated_gb": 2.0 + 0.1 * step,
    }


def validation(accuracy: float, questions: int | None = 100) -> dict[str, float]:
    """What a validation logs."""
    counted = {} if questions is None else {f"val-aux/{SOURCE}/num_questions": questions}
    return {f"val-core/{SOURCE}/acc/mean@1": accuracy} | counted


def lines(*, steps=4, made=None, ended=False, accuracies=(0.3, 0.6), questions=100, **options) -> list[dict]:
    """The entries of a run: a validation before training and one after the last step; `ended` before it is planned."""
    made = steps if made is None else made
    entries = [{"step": 0, "data": validation(accuracies[0], questions)}]
    entries += [{"step": s, "data": step_data(s, steps=steps, **options)} for s in range(1, made + 1)]
    entries[-1]["data"] |= {"cppo/last_step": 1} if ended else {}
    if made == steps or ended:
        entries[-1]["data"] |= validation(accuracies[1], questions)
    return entries


def write(folder: Path, entries: list[dict], **options) -> Path:
    """A run folder with these entries; the options are those of `config`."""
    folder.mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(config(folder, **options)), folder / "config.yaml")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


def make_run(
    folder: Path, *, made=None, ended=False, accuracies=(0.3, 0.6), questions=100, speed=1.0, **options
) -> Path:
    """A whole run folder."""
    logged = lines(made=made, ended=ended, accuracies=accuracies, questions=questions, speed=speed, **options)
    return write(folder, logged, **options)


def evaluate(run: Path, checkpoint: str, right: list[int], benchmark="gsm8k") -> Path:
    """An evaluation of a checkpoint: one sample a question, 1 in `right` where it was answered right."""
    folder = run / "eval" / checkpoint / benchmark
    folder.mkdir(parents=True)
    settings = {"benchmarks": {benchmark: {"num_questions": len(right), "questions": f"{len(right)} questions"}}}
    scored = [
        {"benchmark": benchmark, "index": i, "sample": 0, "acc": acc, "format": 1, "score": acc, "answer": str(acc)}
        | {"tokens": 10, "truncated": False}
        for i, acc in enumerate(right)
    ]
    (folder / SETTINGS).write_text(json.dumps(settings))
    (folder / GENERATIONS).write_text("".join(json.dumps(line) + "\n" for line in scored))
    results = {"model": "m", "settings": settings, "benchmarks": {benchmark: summarize(pd.DataFrame(scored))}}
    (folder / RESULTS).write_text(json.dumps(results))
    return folder

"""What an evaluation writes: every completion with its score, and the results over them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.evaluation import statistics
from cppo_verl.evaluation.generate import Completion
from cppo_verl.rewards.tags import OPENING
from cppo_verl.runs.files import write_whole

ANY_FORM = "in any form"
"""Accuracy as graders count that take a formula for the number it is worth (`71+1` for 72), where that is another."""
GENERATIONS, RESULTS, SETTINGS = "generations.jsonl", "results.json", "settings.json"


def record(completion: Completion) -> dict:
    """One line of `generations.jsonl`: the completion, scored as in training."""
    question = completion.request.question
    told = question.extra_info | ({OPENING: completion.opening} if completion.opening else {})
    return {
        "benchmark": question.benchmark,
        "index": question.index,
        "sample": completion.request.sample,
        **question.rewards.compute_score(question.data_source, completion.text, question.gold, told),
        "answer": question.rewards.extract_answer(completion.text),
        "gold": question.gold,
        "tokens": completion.num_tokens,
        "truncated": completion.truncated,
        "completion": completion.text,
    }


class GenerationsLog:
    """`generations.jsonl` of an evaluation, which may have been begun before.

    Args:
        folder: The evaluation's folder.
        settings: All that decides what is generated.

    Raises:
        ConfigError: The folder holds an evaluation with other settings.
    """

    def __init__(self, folder: Path, settings: dict):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / GENERATIONS
        made_with = folder / SETTINGS
        if made_with.is_file() and (before := read_settings(folder)) != settings:
            changed = sorted(key for key in before.keys() | settings.keys() if before.get(key) != settings.get(key))
            raise ConfigError(
                f"out={folder} holds an evaluation with other settings ({', '.join(changed)}); give another out=, "
                "or delete that folder"
            )
        write_json(made_with, settings)
        self.done = _read_complete_lines(self.path)

    def append(self, records: Iterable[dict]) -> None:
        """Write records as they come, each flushed: a killed evaluation loses none that was scored."""
        with self.path.open("a", encoding="utf-8", errors="surrogatepass") as file:
            for line in records:
                file.write(json.dumps(line) + "\n")
                file.flush()

    def read(self) -> pd.DataFrame:
        """All completions, ordered by benchmark, question and sample."""
        return read_generations(self.path.parent)


def read_generations(folder: Path) -> pd.DataFrame:
    """A row a completion, of an evaluation's folder, ordered by benchmark, question and sample.

    Raises:
        ConfigError: The folder holds none.
    """
    path = folder / GENERATIONS
    if not path.is_file():
        raise ConfigError(f"{folder} is no evaluation's folder: no {GENERATIONS}")
    whole = path.read_bytes()
    lines = [json.loads(line) for line in whole[: whole.rfind(b"\n") + 1].splitlines()]  # the last may be unfinished
    if not lines:
        raise ConfigError(f"{folder} holds no completion yet")
    frame = pd.DataFrame(lines).drop_duplicates(["benchmark", "index", "sample"])
    return frame.sort_values(["benchmark", "index", "sample"], ignore_index=True)


def read_settings(folder: Path) -> dict:
    """What an evaluation was made with.

    Raises:
        ConfigError: The folder is not of one.
    """
    path = folder / SETTINGS
    if not path.is_file():
        raise ConfigError(f"{folder} is no evaluation's folder: no {SETTINGS}")
    return json.loads(path.read_text())


def correct_by_question(rows: pd.DataFrame) -> np.ndarray:
    """`(num_questions, num_samples)` of 0 and 1, of one benchmark's rows."""
    return rows.pivot(index="index", columns="sample", values="acc").to_numpy()


def summarize(rows: pd.DataFrame) -> dict:
    """Results of one benchmark from its completions; shares from 0 to 1, lengths in tokens; accuracy both ways."""
    correct = correct_by_question(rows)
    samples = correct.shape[1]
    powers = [2**i for i in range(1, samples.bit_length()) if 2**i <= samples]
    several = {f"pass@{k}": statistics.pass_at_k(correct, k) for k in powers}
    if samples > 1:
        several[f"maj@{samples}"] = np.array(
            [statistics.majority_correct(list(q["answer"]), list(q["acc"] > 0)) for _, q in rows.groupby("index")]
        )
    intervals = {"accuracy": statistics.accuracy_interval(correct)}
    intervals |= {name: statistics.mean_interval(values) for name, values in several.items()}
    shares = {name: float(values.mean()) for name, values in several.items()}
    if "outcome" in rows and (rows["outcome"] == "unworked").any():
        in_any_form = correct_by_question(rows.assign(acc=rows["acc"].where(rows["outcome"] != "unworked", 1.0)))
        shares[ANY_FORM] = float(in_any_form.mean())
        intervals[ANY_FORM] = statistics.accuracy_interval(in_any_form)
    return {
        "questions": len(correct),
        "samples": samples,
        "accuracy": float(correct.mean()),
        **shares,
        "intervals": {name: dataclasses.asdict(interval) for name, interval in intervals.items()},
        "format": float(rows["format"].mean()),
        "reward": float(rows["score"].mean()),
        "truncated": float(rows["truncated"].mean()),
        "mean_tokens": float(rows["tokens"].mean()),
        **({"verify_failed": int(rows["verify_failed"].sum())} if rows.get("verify_failed") is not None else {}),
    }


def table(results: dict[str, dict], title: str) -> Table:
    """The results for a terminal, accuracies in percent."""
    several = "pass@k, maj@k, in any form (%) [95 %]"
    heads = "benchmark", "questions", "samples", "accuracy (%) [95 %]", several, "format", "truncated", "tokens"
    grid = Table(*heads, title=title)
    for name, result in results.items():
        accuracy, *others = ((key, _with_interval(result, key)) for key in result["intervals"])
        grid.add_row(
            name,
            str(result["questions"]),
            str(result["samples"]),
            accuracy[1],
            "\n".join(" ".join(other) for other in others) or "-",
            f"{result['format']:.1%}",
            f"{result['truncated']:.1%}",
            f"{result['mean_tokens']:.0f}",
        )
    return grid


def _with_interval(result: dict, key: str) -> str:
    """A share and its 95 % interval in percent."""
    low, high = (100 * result["intervals"][key][bound] for bound in ("low", "high"))
    return f"{100 * result[key]:.1f} [{low:.1f}, {high:.1f}]"


def write_json(path: Path, content: dict) -> None:
    """Write a whole file or none."""
    write_whole(path, json.dumps(content, indent=2) + "\n")


def _read_complete_lines(path: Path) -> list[dict]:
    """The records of a log, after cutting off a last line that a kill left unfinished."""
    if not path.is_file():
        return []
    whole = path.read_bytes()
    complete = whole[: whole.rfind(b"\n") + 1]
    os.truncate(path, len(complete))
    return [json.loads(line) for line in complete.splitlines()]
